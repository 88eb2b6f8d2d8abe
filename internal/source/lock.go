package source

import (
	"context"
	"fmt"
	"os"
	"time"
)

// lockFile waits for the exclusive hold on path, which is made where it is missing and left there. Only one process, and
// one goroutine of it, changes a cached repository at a time.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		got, err := tryLock(file)
		if got {
			return func() { unlockFile(file); file.Close() }, nil
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("source: lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("source: waiting for %s: %w", path, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
