//go:build !windows

package sidecar

import (
	"errors"
	"syscall"
)

// isAbsent says whether err is that of a listener which is not there now: nothing listens, no socket file, or (Linux,
// Unix sockets) a full queue, which is not waited for.
func isAbsent(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN)
}
