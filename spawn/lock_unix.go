//go:build !windows

package spawn

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock is false without an error when another open file holds the lock. The kernel ends it with the process.
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
