package spawn

import (
	"context"
	"fmt"
	"os"
	"time"
)

// lastPoll is the longest wait between two tries of a lock: flock cannot be waited for with a limit.
const lastPoll = 50 * time.Millisecond

// lockFile waits for the lock at path; the file is made where it is missing, and stays. Closing the file unlocks.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, lastPoll) {
		got, err := tryLock(file)
		if got {
			return file, nil
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("spawn: lock %s: %w", path, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			file.Close()
			return nil, fmt.Errorf("spawn: waiting for %s: %w", path, context.Cause(ctx))
		case <-timer.C:
		}
	}
}
