package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// errTooLarge is the cause with which a command is ended that writes more than Config.MaxBytes.
var errTooLarge = errors.New("too large")

func (s *Source) tooLarge(url string) error {
	return &LimitError{URL: shown(url), Limit: fmt.Sprintf("%d bytes", s.cfg.MaxBytes)}
}

// watch ends the context that it returns when the repository grows by more than Config.MaxBytes: git has no limit of its
// own for what it fetches. stop ends the watching and reports whether the limit was passed.
func (r *repository) watch(ctx context.Context) (watched context.Context, stop func() bool) {
	watched, cancel := context.WithCancelCause(ctx)
	limit := size(r.dir) + r.s.cfg.MaxBytes
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for size(r.dir) <= limit {
			select {
			case <-tick.C:
			case <-watched.Done():
				return
			}
		}
		cancel(errTooLarge)
	})
	return watched, func() bool {
		cancel(nil)
		done.Wait()
		return size(r.dir) > limit
	}
}

// size is the number of bytes in the object store. Files come and go while it looks; what is gone counts nothing.
func size(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(filepath.Join(dir, "objects"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
