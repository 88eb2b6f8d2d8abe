package sidecar

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// isAbsent says whether err is that of a listener which is not there now.
func isAbsent(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}
