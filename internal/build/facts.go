package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// facts are what a cell publishes, as far as a consumer's code depends on it.
type facts struct {
	dep         manifest.Dependency
	commit      string // empty: from a working tree
	hash        string // SHA-256 of Cell.toml, hex
	fingerprint string
	file        *manifest.File
	raw         map[string][]byte
	stale       bool
}

// MismatchError says that a cell is not what Cell.lock says it is.
type MismatchError struct {
	Name, What, Locked, Now string
	Breaking                []string // members that code made for the locked interface would miss
	Compared                bool     // both interfaces could be read
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("build: cell %s: its %s is %s, Cell.lock says %s%s; to accept it run cellnode build --update, or cellnode remote --update",
		e.Name, e.What, e.Now, e.Locked, consequence(e.Breaking, e.Compared))
}

// consequence says what a change of the interface means for code that exists.
func consequence(breaking []string, compared bool) string {
	switch {
	case !compared:
		return ""
	case len(breaking) == 0:
		return "; code that compiles today goes on to: there are additions at most"
	}
	return "; breaking: " + strings.Join(breaking, ", ")
}

func urls(dep manifest.Dependency) []string { return append([]string{dep.Git}, dep.Mirrors...) }

// DevelopmentError says that a build that is to be repeatable met a working tree.
type DevelopmentError struct{ Name, Key string }

func (e *DevelopmentError) Error() string {
	return fmt.Sprintf("build: cell %s is taken from a working tree (%s in Cell.toml), which nobody can build again: take the key out before check --frozen or vendor", e.Name, e.Key)
}

// facts finds out what a cell publishes: from the checkout that path names, from cellvendor with offline_vendor, at the
// commit of Cell.lock, or at the tag.
func (b *Builder) facts(ctx context.Context, dep manifest.Dependency) (*facts, error) {
	locked, isLocked := b.consumer.lock.Find(dep.Name)
	if isLocked && locked.Cell != dep.Cell {
		if !b.cfg.Update {
			return nil, &MismatchError{Name: dep.Name, What: "repository and tag in Cell.toml", Locked: locked.Cell.String(), Now: dep.Cell.String()}
		}
		isLocked = false
	}
	switch {
	case dep.Path != "" || dep.Clone:
		return b.fromCheckout(ctx, dep)
	case dep.Policy.OfflineVendor:
		return b.fromVendor(dep, locked, isLocked)
	}
	var m *source.Manifest
	var err error
	if isLocked && !b.cfg.Update {
		m, err = b.at(ctx, dep, locked.Commit)
	} else {
		m, err = b.source.ManifestFrom(ctx, dep.Cell, urls(dep)...)
	}
	if err != nil {
		return nil, err
	}
	f := &facts{dep: dep, commit: m.Commit, hash: m.ManifestHash, fingerprint: m.Fingerprint, file: m.File, raw: m.Raw, stale: m.Stale}
	return f, b.compare(f, locked, isLocked)
}

// at reads a cell at the commit that is locked, from the first place that has it.
func (b *Builder) at(ctx context.Context, dep manifest.Dependency, commit string) (*source.Manifest, error) {
	var errs []error
	for _, url := range urls(dep) {
		m, err := b.source.ManifestAt(ctx, url, dep.Tag, commit)
		var moved *source.MovedError
		if err == nil || errors.As(err, &moved) {
			return m, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// compare refuses what is not as it is locked, unless that is to be updated.
func (b *Builder) compare(f *facts, locked manifest.LockedCell, isLocked bool) error {
	if !isLocked {
		return nil
	}
	if locked.Trust != nil && f.file.Trust == nil {
		return fmt.Errorf("build: cell %s names no publishers any more, and Cell.lock says that it did: if that is right, remove its entry from Cell.lock", f.dep.Name)
	}
	if b.cfg.Update {
		return nil
	}
	if locked.Fingerprint != f.fingerprint {
		return &MismatchError{Name: f.dep.Name, What: "interface", Locked: short(locked.Fingerprint), Now: short(f.fingerprint)}
	}
	if locked.Manifest != "" && locked.Manifest != f.hash {
		return &MismatchError{Name: f.dep.Name, What: "Cell.toml", Locked: short(locked.Manifest), Now: short(f.hash)}
	}
	return nil
}

// fromCheckout reads the working tree that path names. What it says is not pinned.
func (b *Builder) fromCheckout(ctx context.Context, dep manifest.Dependency) (*facts, error) {
	key := "path"
	if dep.Path == "" {
		key = "clone"
	}
	if b.cfg.Frozen {
		return nil, &DevelopmentError{dep.Name, key}
	}
	if dep.Path == "" {
		return nil, fmt.Errorf("build: cell %s: clone = true has no path: write path = \"…\", the folder to clone to", dep.Name)
	}
	dir := dep.Path
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(b.consumer.dir, dir)
	}
	if dep.Clone {
		if err := b.clone(ctx, dep, dir); err != nil {
			return nil, err
		}
	}
	c, err := source.OpenCheckout(dir)
	if err != nil {
		return nil, fmt.Errorf("build: cell %s: path %s: %w", dep.Name, dep.Path, err)
	}
	f := &facts{dep: dep, fingerprint: c.Fingerprint, file: c.File}
	f.raw, f.hash, err = readInterface(c.Dir, c.File)
	return f, err
}

// readInterface reads the Cell.toml and the interface files below dir.
func readInterface(dir string, file *manifest.File) (raw map[string][]byte, hash string, err error) {
	tree := os.DirFS(dir)
	read := func(path string) ([]byte, error) { return fs.ReadFile(tree, path) }
	p := file.Package
	if raw, err = manifest.InterfaceFiles(p.Interface, p.ImportRoots, read); err != nil {
		return nil, "", err
	}
	text, err := read("Cell.toml")
	if err != nil {
		return nil, "", fmt.Errorf("build: %w", err)
	}
	raw["Cell.toml"] = text
	sum := sha256.Sum256(text)
	return raw, hex.EncodeToString(sum[:]), nil
}

// short is a hash as people read it.
func short(hash string) string {
	if hash == "" {
		return "none"
	}
	return hash[:min(len(hash), 12)]
}

// locked is what Cell.lock and the generated package say of the cell.
func (f *facts) locked() manifest.LockedCell {
	c := manifest.LockedCell{
		Name: f.dep.Name, Cell: f.dep.Cell, Git: f.dep.Git, Commit: f.commit, Manifest: f.hash, Fingerprint: f.fingerprint,
	}
	if t := f.file.Trust; t != nil {
		c.Trust = &manifest.LockedTrust{Keys: t.Keys, Threshold: t.Threshold}
	}
	return c
}
