package home

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// maxInterfaces is how many interfaces are kept; the oldest go first. Anybody may name one.
const maxInterfaces = 64

// Interface returns the interface with this fingerprint that a process of this home has kept. The error is an
// fs.ErrNotExist where there is none; one that is not what its name says is removed, and there is none either.
func (d *Dir) Interface(fingerprint string) (manifest.InterfaceSet, error) {
	path, err := d.interfacePath(fingerprint)
	if err != nil {
		return manifest.InterfaceSet{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return manifest.InterfaceSet{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, manifest.MaxInterfaceSet+1))
	if err != nil {
		return manifest.InterfaceSet{}, err
	}
	set, err := manifest.ParseInterfaceSet(data)
	if err == nil && set.Fingerprint() == fingerprint {
		return set, nil
	}
	if err := os.Remove(path); err != nil {
		return manifest.InterfaceSet{}, err
	}
	return manifest.InterfaceSet{}, fmt.Errorf("home: %s was damaged, and is removed: %w", path, fs.ErrNotExist)
}

// KeepInterface keeps a serialised interface that has this fingerprint, which the caller has checked.
func (d *Dir) KeepInterface(fingerprint string, set []byte) error {
	path, err := d.interfacePath(fingerprint)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := thinOut(filepath.Dir(path), maxInterfaces-1); err != nil {
		return err
	}
	return manifest.WriteFile(path, set, 0o600)
}

func (d *Dir) interfacePath(fingerprint string) (string, error) {
	if raw, err := hex.DecodeString(fingerprint); err != nil || len(raw) != 32 {
		return "", fmt.Errorf("home: %.80q is no fingerprint", fingerprint)
	}
	return d.Path("cache", "interfaces", strings.ToLower(fingerprint)), nil
}

// thinOut removes the oldest files of a folder until at most so many are left.
func thinOut(dir string, most int) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= most {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() { // with an error it has just gone
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, info := range files[:max(0, len(files)-most)] {
		if err := os.Remove(filepath.Join(dir, info.Name())); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
