package manifest

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// renamePatience bounds how long rename waits for readers of the old file. A reader has it open for microseconds; a
// virus scanner that looks at a new file takes some tenths of a second.
const renamePatience = 2 * time.Second

// rename gives a complete file its name, in place of what had it, and returns when that is on disk. Windows refuses
// while somebody has the old file open.
func rename(temp, path string) error {
	from, err := windows.UTF16PtrFromString(temp)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	for left := renamePatience; ; left -= 10 * time.Millisecond {
		err := windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
		if err == nil {
			return nil
		}
		if left <= 0 || !errors.Is(err, windows.ERROR_SHARING_VIOLATION) && !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			return &os.LinkError{Op: "rename", Old: temp, New: path, Err: err}
		}
		time.Sleep(10 * time.Millisecond) //allow:sleep Windows has no way to wait for readers of a file
	}
}

// syncFolder has nothing to do: a folder cannot be flushed here, and rename has written through.
func syncFolder(string) error { return nil }
