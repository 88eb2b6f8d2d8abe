package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cellnode/cellnode/codegen"
	"github.com/cellnode/cellnode/manifest"
)

// pin puts a cell into the lock that will be written, and reports whether that changes it. It returns the cell as the next
// run will read it, so that what is generated now is what will be generated then.
func pin(lock *manifest.Lock, c manifest.LockedCell) (as manifest.LockedCell, changed bool, err error) {
	before, err := lock.Marshal()
	if err != nil {
		return c, false, err
	}
	at := slices.IndexFunc(lock.Cells, func(l manifest.LockedCell) bool { return l.Name == c.Name })
	if at < 0 {
		lock.Cells = append(lock.Cells, c)
	} else {
		lock.Cells[at] = c
	}
	after, err := lock.Marshal()
	if err != nil {
		return c, false, err
	}
	read, err := manifest.ParseLock("Cell.lock", after)
	if err != nil {
		return c, false, err
	}
	as, _ = read.Find(c.Name)
	return as, !bytes.Equal(before, after), nil
}

// writeLock writes Cell.lock, and lock.go of every package generated for a cell whose interface is another one now: those
// packages do not compile until they are generated again.
func (b *Builder) writeLock(lock *manifest.Lock) error {
	data, err := lock.Marshal()
	if err != nil {
		return err
	}
	old, err := os.ReadFile(b.consumer.lockPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("build: %w", err)
	}
	if !bytes.Equal(old, data) {
		if err := manifest.WriteFile(b.consumer.lockPath(), data, 0o644); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	return b.eachPackage(func(dir string, lockFile []byte, p codegen.LockInfo) error {
		c, ok := lock.Find(p.Cell)
		if !ok {
			return nil
		}
		fresh := codegen.LockFile(p.Package, c)
		if bytes.Equal(fresh, lockFile) {
			return nil
		}
		if err := manifest.WriteFile(filepath.Join(dir, "lock.go"), fresh, 0o644); err != nil {
			return fmt.Errorf("build: %w", err)
		}
		return nil
	})
}

// eachPackage calls each for the generated packages below the consumer's folder.
func (b *Builder) eachPackage(each func(dir string, lockFile []byte, info codegen.LockInfo) error) error {
	return b.walk(func(path string) error {
		if filepath.Base(path) != "lock.go" {
			return nil
		}
		data, err := readFile(path, manifest.MaxFileSize)
		if err != nil {
			return err
		}
		if info, ok := codegen.ReadLockFile(data); ok {
			return each(filepath.Dir(path), data, info)
		}
		return nil
	})
}

// walk calls each for the Go files that belong to the consumer: not those of vendored modules, of hidden folders, or of
// folders with a Cell.toml of their own.
func (b *Builder) walk(each func(path string) error) error {
	return filepath.WalkDir(b.consumer.dir, func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != b.consumer.dir:
			if name == "vendor" || name == "testdata" || name == vendorDir || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "Cell.toml")); err == nil {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && filepath.Ext(name) == ".go":
			return each(path)
		}
		return nil
	})
}
