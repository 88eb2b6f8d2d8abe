package home

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// unwritable is an error of making or changing a file, with the way out.
func unwritable(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("home: %w: make room, or set CELL_HOME to a directory elsewhere", err)
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("home: %w: raise the limit on the size of files (ulimit -f)", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("home: %w: set CELL_HOME to a directory that you may write", err)
	}
	return fmt.Errorf("home: %w", err)
}
