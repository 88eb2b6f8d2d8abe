// Package home is the directory ~/.cell: the identities of this machine's nodes, their settings, and which of them run.
//
// CELL_HOME moves it. Below it lie
//
//	config.toml          settings, see [Config]; each key also as CELL_*
//	keys/NAME            an Ed25519 identity, 0600: one line of base64, the libp2p private-key protobuf
//	keys/NAME.1 …        further identities of the same name, so that three instances on one machine are three peers
//	keys/NAME.lock       held while the identity is in use; keys/NAME.inc is its last incarnation
//	run/NAME.json        what a running node says of itself, see [Running]; true while run/NAME.lock is held
//	run/NAME.sock        the service's own socket, see [Dir.SocketPath] for long paths
//	cache/, log/         belong to others, see [Dir.Sub]
//
// Nothing here is trusted by its name alone: the directory and those directly below it must be the user's own and
// closed to others (0700), and a lock is a lock of the kernel's (flock, LockFileEx), so that it ends with the process
// that held it, however that ended. On Windows the user profile's access list stands in for owner and mode.
//
// All methods are safe for concurrent use, by goroutines and by processes.
package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cellnode/cellnode/manifest"
)

// Dir is an open home directory. It holds nothing open, so it needs no Close.
type Dir struct {
	root string // absolute, without symbolic links at its end
}

// Open opens CELL_HOME or else ~/.cell, and makes it (0700) where it is missing.
func Open() (*Dir, error) {
	if path := os.Getenv("CELL_HOME"); path != "" {
		return At(path)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("home: %w: set it, or set CELL_HOME to the directory to use in place of ~/.cell", err)
	}
	return At(filepath.Join(user, ".cell"))
}

// OpenIfAny is Open for those who do without: nil where no home directory is named, or it is missing and cannot be made.
func OpenIfAny() (*Dir, error) {
	if _, err := os.UserHomeDir(); err != nil && os.Getenv("CELL_HOME") == "" {
		return nil, nil
	}
	d, err := Open()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, nil
	}
	return d, err
}

// At opens the home directory at path, and makes it (0700) where it is missing. A relative path is taken from the
// working directory of now. The directory itself may be reached through a symbolic link of the user's own.
func At(path string) (*Dir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	switch info, err := os.Lstat(root); {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, unwritable(err)
		}
	case err != nil:
		return nil, unwritable(err)
	case info.Mode()&fs.ModeSymlink != 0:
		if err := checkOwner(root, info); err != nil {
			return nil, err
		}
		if root, err = filepath.EvalSymlinks(root); err != nil {
			return nil, fmt.Errorf("home: %w", err)
		}
	}
	if err := checkDir(root); err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

// Path joins elem to the directory's own path. It makes and checks nothing.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.root}, elem...)...)
}

// Sub returns the path of the directory name, directly below the home directory; it is made (0700) where it is missing
// and refused if it is a symbolic link, another user's, or open to others.
func (d *Dir) Sub(name string) (string, error) {
	path := d.Path(name)
	return path, makeDir(path)
}

// makeDir makes the one directory path, or checks the one that stands there.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return unwritable(err)
	}
	return checkDir(path)
}

// write replaces the file at path, whole or not at all; it is closed to others.
func write(path string, data []byte) error {
	return unwritable(manifest.WriteFile(path, data, 0o600))
}
