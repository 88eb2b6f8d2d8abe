package home

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// ErrHeld says that another process, or another part of this one, holds the name.
var ErrHeld = errors.New("home: held by another process")

// lock is an exclusive hold on a lock file. The kernel ends it with the process at the latest. Lock files stay where
// they are: taking one away would let two processes hold "the same" name by two files.
type lock struct {
	file *os.File
	mu   sync.Mutex
	gone bool
}

// probePatience bounds how often tryLock steps aside for a [held] that looks at the same moment.
const probePatience = 1000

// tryLock takes the lock at path, making the file (0600) where it is missing, or returns ErrHeld at once.
func tryLock(path string) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, unwritable(err)
	}
	for range probePatience {
		got, err := lockFile(file, true)
		if got {
			return &lock{file: file}, nil
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("home: lock %s: %w", path, err)
		}
		// Someone who only looks holds it shared, and for microseconds; an owner holds it exclusively.
		if shared, _ := lockFile(file, false); !shared {
			break
		}
		unlockFile(file)
		time.Sleep(rand.N(time.Millisecond)) //allow:sleep under a millisecond, twice or thrice; the holder lets go within microseconds
	}
	file.Close()
	return nil, ErrHeld
}

// held says whether some process holds the lock at path. It looks by taking the lock shared for a moment.
func held(path string) (bool, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0) // also of a home that one may not write
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	got, err := lockFile(file, false)
	if err != nil {
		return false, fmt.Errorf("home: lock %s: %w", path, err)
	}
	if got {
		unlockFile(file)
	}
	return !got, nil
}

// release ends the hold; a second call does nothing. The explicit unlock matters: a child that is between fork and exec
// at this moment shares the open file, and closing alone would leave the lock with it.
func (l *lock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	unlockFile(l.file)
	l.file.Close()
}

func (l *lock) released() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}
