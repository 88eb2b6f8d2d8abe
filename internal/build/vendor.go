package build

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cellnode/cellnode/manifest"
)

// vendorDir is the folder beside Cell.toml that holds what offline_vendor reads.
const vendorDir = "cellvendor"

func (b *Builder) vendorPath(name string) string {
	return filepath.Join(b.consumer.dir, vendorDir, name)
}

// fromVendor reads a cell from cellvendor and holds it to Cell.lock. No socket is opened.
func (b *Builder) fromVendor(dep manifest.Dependency, locked manifest.LockedCell, isLocked bool) (*facts, error) {
	if !isLocked {
		return nil, fmt.Errorf("build: cell %s: offline_vendor is set and Cell.lock does not know the cell: run cellnode vendor where there is a network", dep.Name)
	}
	dir := b.vendorPath(dep.Name)
	text, err := readFile(filepath.Join(dir, "Cell.toml"), manifest.MaxFileSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("build: cell %s: offline_vendor is set and %s is not there: run cellnode vendor where there is a network", dep.Name, filepath.Join(vendorDir, dep.Name))
	}
	if err != nil {
		return nil, err
	}
	file, err := manifest.ParseFile(filepath.Join(dir, "Cell.toml"), text)
	if err != nil {
		return nil, err
	}
	if file.Package == nil {
		return nil, fmt.Errorf("build: %s has no [package]: run cellnode vendor again", filepath.Join(dir, "Cell.toml"))
	}
	f := &facts{dep: dep, commit: locked.Commit, file: file}
	if f.raw, f.hash, err = readInterface(dir, file); err != nil {
		return nil, err
	}
	if f.fingerprint, err = manifest.Fingerprint(f.raw, file.Package.Interface, file.Package.ImportRoots); err != nil {
		return nil, err
	}
	if locked.Fingerprint != f.fingerprint || locked.Manifest != "" && locked.Manifest != f.hash {
		return nil, fmt.Errorf("build: %s holds interface %s, Cell.lock says %s: run cellnode vendor where there is a network", dir, short(f.fingerprint), short(locked.Fingerprint))
	}
	return f, nil
}

// writeVendor replaces a cell's folder in cellvendor. The old one is there until the new one is whole.
func (b *Builder) writeVendor(f *facts) error {
	dir := b.vendorPath(f.dep.Name)
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, "."+f.dep.Name+"-")
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer os.RemoveAll(fresh)
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		path := filepath.Join(fresh, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("build: %w", err)
		}
		if err := manifest.WriteFile(path, f.raw[name], 0o644); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return nil
}
