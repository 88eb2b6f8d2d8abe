package testnet

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// built is a cell's service as this network runs it.
type built struct {
	binary, checkout string
	file             *manifest.File
	cell             manifest.Cell
}

// build clones a cell at its tag and builds its service, once for each network, unless a command of the spec's own serves
// it. If it fails, the next try begins anew.
func (n *Net) build(ctx context.Context, spec Spec) (*built, error) {
	if err := manifest.CheckTag(spec.Tag); err != nil {
		return nil, err
	}
	n.building.Lock()
	defer n.building.Unlock()
	repository, err := filepath.Abs(spec.Repository)
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	name := buildName(repository, spec.Tag)
	b := &built{checkout: filepath.Join(n.dir, "src", name), binary: filepath.Join(n.dir, "bin", name)}
	last := b.binary // of what is made
	if spec.Command != nil {
		last = b.checkout
	}
	if _, err := os.Stat(last); err == nil {
		return b, b.read(spec, repository)
	}
	if err := b.make(ctx, spec, repository); err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.checkout))
	}
	return b, nil
}

func (b *built) make(ctx context.Context, spec Spec, repository string) error {
	if err := command(ctx, "", "git", "clone", "--quiet", "--config=advice.detachedHead=false", "--branch", spec.Tag, "--", repository, b.checkout); err != nil {
		return fmt.Errorf("%w: name a git repository on this machine and a tag of it", err)
	}
	if err := b.read(spec, repository); err != nil {
		return err
	}
	if spec.Command != nil {
		return nil
	}
	return command(ctx, b.checkout, "go", "build", "-o", b.binary, cmp.Or(b.file.Build.Package, "."))
}

// read reads the Cell.toml of the checkout.
func (b *built) read(spec Spec, repository string) error {
	path := filepath.Join(b.checkout, "Cell.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("testnet: %s is no cell: %w", spec.Repository, err)
	}
	if b.file, err = manifest.ParseFile(path, data); err != nil {
		return err
	}
	b.cell, err = b.file.CellAt(repository, spec.Tag)
	return err
}

// grant lets the node in a home serve a cell that names its publishers: its key is made, and a publisher signs for it.
func (n *Net) grant(path string, b *built) error {
	if b.file.Trust == nil || b.file.Package == nil {
		return nil
	}
	if !n.publishes(b.file.Trust.Keys) {
		return fmt.Errorf("testnet: cell %s names its publishers, so its instances need grants: make yourself one with `cellnode init --trust` in a copy of it, commit and tag that", b.cell)
	}
	dir, err := home.At(path)
	if err != nil {
		return err
	}
	key, err := dir.Key(b.file.Package.Name)
	if err != nil {
		return err
	}
	defer key.Close()
	now := time.Now().Truncate(time.Second)
	grants, err := record.SignGrant(n.publisher, record.Grant{
		Cell: b.cell.ID(), Peer: key.Peer, Capabilities: []record.Capability{record.Serve}, Serial: uint64(now.UnixNano()),
		NotBefore: now, NotAfter: now.Add(record.DefaultGrant),
	}, nil)
	if err != nil {
		return err
	}
	return manifest.WriteFile(dir.GrantPath(key.Name), []byte(grants.Text()+"\n"), 0o600)
}

// publishes reports whether the network's publisher is one of those.
func (n *Net) publishes(keys []string) bool {
	if n.publisher == nil {
		return false
	}
	raw, err := n.publisher.GetPublic().Raw()
	return err == nil && slices.Contains(keys, manifest.FormatKey(raw))
}

// buildName is the file name of a cell's build. Two cells never share one, whatever the last elements of their paths.
func buildName(repository, tag string) string {
	sum := sha256.Sum256([]byte(repository + "\x00" + tag))
	return fmt.Sprintf("%s@%s-%x", filepath.Base(repository), strings.ReplaceAll(tag, "/", "-"), sum[:3])
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testnet: %s %s: %w%s", name, args[0], err, lastWords(out))
	}
	return nil
}

// lastWords is the end of what a process has written, as the end of an error in one line, or nothing.
func lastWords(out []byte) string {
	const keep = 5 // lines
	var lines []string
	for line := range bytes.Lines(bytes.TrimSpace(out)) {
		lines = append(lines, string(bytes.TrimSpace(line)))
	}
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines[max(0, len(lines)-keep):], "; ")
}
