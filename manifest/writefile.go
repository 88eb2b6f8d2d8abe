package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// abandoned is the age at which a temporary file is taken for one that a killed process has left. A write takes
// milliseconds; flushing 64 MiB to a slow disk may take half a minute.
const abandoned = 10 * time.Minute

// WriteFile puts data at path in one step: whoever reads path, also after a crash, finds the old content or the new,
// whole. It writes a temporary file in the same folder with exactly perm, flushes it to disk, renames it over path and
// flushes the folder. The folder must exist. On an error path is as it was and the temporary file is gone; what a killed
// process has left of a write to the same path is cleared away ten minutes later, by the next write.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return put(path, data, perm, rename)
}

// CreateFile is WriteFile for a path where nothing may be replaced: if something is there it is left as it is, and the
// error is fs.ErrExist.
func CreateFile(path string, data []byte, perm fs.FileMode) error {
	return put(path, data, perm, linkNew)
}

func put(path string, data []byte, perm fs.FileMode, place func(temp, path string) error) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return writeError(path, err)
	}
	if own, err := os.Lstat(temp); err == nil {
		clearAbandoned(path, own.ModTime()) // by the file system's own clock
	}
	if err := place(temp, path); err != nil {
		return errors.Join(writeError(path, err), os.Remove(temp))
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return writeError(path, err)
	}
	return nil
}

// writeError names path alone: the temporary file is no business of whoever reads it.
func writeError(path string, err error) error {
	var inner *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &inner):
		err = inner.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("manifest: write %s: %w", path, err)
}

// linkNew gives a complete file its name, unless that is taken.
func linkNew(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil {
		return os.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without hard links, where looking and renaming are two steps.
	if _, absent := os.Lstat(path); !errors.Is(absent, fs.ErrNotExist) {
		return errors.Join(absent, fs.ErrExist)
	}
	return rename(temp, path)
}

func tempPrefix(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// writeTemp leaves a complete file beside path and returns its name; on an error it leaves nothing.
func writeTemp(path string, data []byte, perm fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*")
	if err != nil {
		return "", err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return "", err
	}
	if err := f.Chmod(perm); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// ClearUnfinished removes what killed processes have left of writes to path, however young. It is for a caller who
// knows that nobody writes path at this moment. What cannot be removed stays: it is in nobody's way.
func ClearUnfinished(path string) { clearTemps(path, func(fs.FileInfo) bool { return true }) }

// ClearAbandoned is ClearUnfinished while others may be writing path: it leaves what is younger than ten minutes. It is
// for a path that is written once and then only read.
func ClearAbandoned(path string) { clearAbandoned(path, time.Now()) }

func clearAbandoned(path string, now time.Time) {
	clearTemps(path, func(info fs.FileInfo) bool { return now.Sub(info.ModTime()) > abandoned })
}

func clearTemps(path string, drop func(fs.FileInfo) bool) {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), tempPrefix(path))
		if !ours || rest == "" || strings.Trim(rest, "0123456789") != "" {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && drop(info) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
