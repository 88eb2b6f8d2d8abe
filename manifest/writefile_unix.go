//go:build !windows

package manifest

import (
	"errors"
	"os"
	"syscall"
)

// rename gives a complete file its name, in place of what had it.
func rename(temp, path string) error { return os.Rename(temp, path) }

// syncFolder makes the rename last. Some file systems cannot flush a folder; there is nothing to be done about it.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !unsyncable(err) {
		return err
	}
	return nil
}

func unsyncable(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}
