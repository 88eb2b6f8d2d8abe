package home

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/record"
)

// Incarnation returns the number of a new life of this identity and keeps it on disk before it returns: greater than
// every one it gave before and than above, and at least the wall clock in Unix milliseconds. So records stay ordered
// across restarts with a clock that went back a little (the stored number wins) and across a lost file (the clock wins).
// above is what others hold of this peer, 0 where that is unknown: a node that meets a record of its own with a greater
// incarnation jumps over it.
//
// A stored number more than record.MaxClockAhead ahead of the clock comes from a start whose clock was wrong, if this one is
// right: others have refused it, and would refuse the next one too. So the clock wins, which is said to log (nil: nobody). A
// file that does not hold a number is moved aside to NAME.inc.bad, said once to log, and counts as lost.
func (k *Key) Incarnation(above uint64, log *slog.Logger) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, err := readIncarnation(k.incarnations)
	var damaged *damagedError
	if errors.As(err, &damaged) {
		err = k.quarantine(damaged, log)
	}
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if last > incarnationAt(now.Add(record.MaxClockAhead)) {
		if log != nil {
			log.Warn("the stored incarnation is far ahead of the clock, and others refuse it; the clock counts: is it right?",
				"path", k.incarnations, "stored", last, "clock", now)
		}
		last = 0
	}
	next := max(max(last, above)+1, incarnationAt(now))
	if err := write(k.incarnations, []byte(strconv.FormatUint(next, 10)+"\n")); err != nil {
		return 0, err
	}
	return next, nil
}

func incarnationAt(t time.Time) uint64 { return uint64(max(0, t.UnixMilli())) }

// quarantine keeps the damaged file for whoever wants to look at it.
func (k *Key) quarantine(damaged *damagedError, log *slog.Logger) error {
	aside := k.incarnations + ".bad"
	if err := os.Rename(k.incarnations, aside); err != nil {
		return fmt.Errorf("%w: and it cannot be moved aside: %w", damaged, err)
	}
	if log != nil {
		log.Warn("damaged incarnation moved aside; the clock counts", "path", aside, "err", damaged)
	}
	return nil
}

// damagedError says that a file of this room's own does not hold what was written to it.
type damagedError struct{ path, holds string }

func (e *damagedError) Error() string {
	return fmt.Sprintf("home: %s holds %s, not an incarnation", e.path, e.holds)
}

// readIncarnation returns the number in the file, 0 where there is none, or a *damagedError.
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
		return 0, &damagedError{path, fmt.Sprintf("%d bytes", info.Size())}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("home: %w", err)
	}
	last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || last == math.MaxUint64 { // none is left above the greatest
		return 0, &damagedError{path, strconv.Quote(string(text))}
	}
	return last, nil
}
