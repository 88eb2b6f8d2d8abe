package home

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// Incarnation returns the number of a new life of this identity and keeps it on disk before it returns: greater than
// every one it gave before and than above, and at least the wall clock in Unix milliseconds. So records stay ordered
// across restarts with a clock that went back (the stored number wins) and across a lost file (the clock wins). above
// is what others hold of this peer, 0 where that is unknown: a node that meets a record of its own with a greater
// incarnation jumps over it.
//
// A file that does not hold a number is an error; it is not replaced, for the true number may be greater than the clock.
func (k *Key) Incarnation(above uint64) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, err := readIncarnation(k.incarnations)
	if err != nil {
		return 0, err
	}
	last = max(last, above)
	if last == math.MaxUint64 {
		return 0, fmt.Errorf("home: %s: no incarnation is left after %d: take a new identity", k.incarnations, last)
	}
	next := max(last+1, uint64(max(0, time.Now().UnixMilli())))
	if err := write(k.incarnations, []byte(strconv.FormatUint(next, 10)+"\n")); err != nil {
		return 0, err
	}
	return next, nil
}

func readIncarnation(path string) (uint64, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("home: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return 0, err
	}
	if info.Size() > 32 {
		return 0, fmt.Errorf("home: %s holds %d bytes, not a number: %s", path, info.Size(), incarnationRemedy)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("home: %w", err)
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("home: %s holds %q, not a number: %s", path, text, incarnationRemedy)
	}
	return last, nil
}

const incarnationRemedy = "remove it if this machine's clock was never ahead"
