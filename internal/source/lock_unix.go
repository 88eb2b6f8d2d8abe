//go:build !windows

package source

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock is false without an error when another open file holds the lock.
func tryLock(file *os.File) (bool, error) {
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		return false, nil
	default:
		return false, err
	}
}

// unlockFile comes before closing: a child between fork and exec shares the open file.
func unlockFile(file *os.File) { _ = unix.Flock(int(file.Fd()), unix.LOCK_UN) }
