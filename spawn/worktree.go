package spawn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Limits of a working tree that is built, as those of a repository.
const (
	maxTreeFiles = 20_000
	maxTreeBytes = 256 << 20
)

// eachFile calls do for every plain file of a working tree, in the order of their paths. Links are left out, as they are
// of a commit, and so is git's own folder.
func eachFile(dir string, do func(rel string, info fs.FileInfo) error) error {
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular() || d.Name() == ".git":
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if files, bytes = files+1, bytes+info.Size(); files > maxTreeFiles || bytes > maxTreeBytes {
			return fmt.Errorf("it has more than %d files or %d MiB", maxTreeFiles, maxTreeBytes>>20)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return do(rel, info)
	})
	if err != nil {
		return fmt.Errorf("spawn: the working tree %s: %w", dir, err)
	}
	return nil
}

// snapshot copies a working tree and returns the hash of what it has copied, which stands for a commit.
func snapshot(dir, to string) (string, error) {
	sum := sha256.New()
	err := eachFile(dir, func(rel string, info fs.FileInfo) error {
		mode := fs.FileMode(0o644) | info.Mode()&0o111
		fmt.Fprintf(sum, "%q %o %d\n", rel, mode, info.Size())
		return copyFile(filepath.Join(dir, rel), filepath.Join(to, rel), mode, sum)
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

func copyFile(from, to string, mode fs.FileMode, sum hash.Hash) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, maxTreeBytes))
	return errors.Join(err, out.Close())
}

// stamp changes when a file of a working tree does, as far as that can be seen without reading it.
func stamp(dir string) (string, error) {
	sum := sha256.New()
	err := eachFile(dir, func(rel string, info fs.FileInfo) error {
		_, err := fmt.Fprintf(sum, "%q %o %d %d\n", rel, info.Mode(), info.Size(), info.ModTime().UnixNano())
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
