package testnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// build clones a cell at its tag and builds its service, once for each network. It returns the binary and the checkout.
// If it fails, the next try begins anew.
func (n *Net) build(ctx context.Context, spec Spec) (binary, checkout string, err error) {
	if spec.Repository == "" {
		return "", "", nil
	}
	if err := manifest.CheckTag(spec.Tag); err != nil {
		return "", "", err
	}
	n.building.Lock()
	defer n.building.Unlock()
	repository, err := filepath.Abs(spec.Repository)
	if err != nil {
		return "", "", fmt.Errorf("testnet: %w", err)
	}
	name := buildName(repository, spec.Tag)
	checkout = filepath.Join(n.dir, "src", name)
	binary = filepath.Join(n.dir, "bin", name)
	if _, err := os.Stat(binary); err == nil {
		return binary, checkout, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(checkout))
		}
	}()
	if err := command(ctx, "", "git", "clone", "--quiet", "--config=advice.detachedHead=false", "--branch", spec.Tag, "--", repository, checkout); err != nil {
		return "", "", fmt.Errorf("%w: name a git repository on this machine and a tag of it", err)
	}
	path := filepath.Join(checkout, "Cell.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("testnet: %s is no cell: %w", spec.Repository, err)
	}
	file, err := manifest.ParseFile(path, data)
	if err != nil {
		return "", "", err
	}
	pkg := file.Build.Package
	if pkg == "" {
		pkg = "."
	}
	if err := command(ctx, checkout, "go", "build", "-o", binary, pkg); err != nil {
		return "", "", err
	}
	return binary, checkout, nil
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
