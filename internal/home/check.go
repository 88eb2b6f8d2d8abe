package home

import (
	"fmt"
	"io/fs"
	"os"
)

// checkDir refuses whatever is not a directory of this user's own that is closed to all others.
func checkDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("home: %s is %s, not a directory: move it away", path, kind(info.Mode()))
	}
	return checkPrivate(path, info, 0o700)
}

// checkFile refuses whatever is not a regular file of this user's own that is closed to all others.
func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("home: %s is %s, not a file: move it away", path, kind(info.Mode()))
	}
	return checkPrivate(path, info, 0o600)
}

func checkPrivate(path string, info fs.FileInfo, want fs.FileMode) error {
	if err := checkOwner(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); hasModes && mode&0o077 != 0 {
		return fmt.Errorf("home: %s is open to others (mode %#o): run 'chmod %o %s'", path, mode, want, path)
	}
	return nil
}

// checkOwner refuses what belongs to another user, as HOME does after a plain sudo.
func checkOwner(path string, info fs.FileInfo) error {
	me := os.Geteuid()
	if owner, known := ownerOf(info); known && owner != me {
		return fmt.Errorf("home: %s belongs to user %d and you are user %d: "+
			"run as its owner ('sudo -H' sets HOME), or set CELL_HOME to a directory of your own", path, owner, me)
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	case mode.IsRegular():
		return "a file"
	default:
		return "neither a file nor a directory"
	}
}
