package link

import (
	"sync"
	"time"
)

// An idleTimer calls a function when nothing has been in use for a time.
type idleTimer struct {
	mu    sync.Mutex
	users int
	timer *time.Timer
	over  bool
}

// newIdleTimer calls expire after wait, unless add comes before.
func newIdleTimer(wait time.Duration, expire func()) *idleTimer {
	t := new(idleTimer)
	t.timer = time.AfterFunc(wait, func() {
		t.mu.Lock()
		fire := t.users == 0 && !t.over
		t.over = t.over || fire
		t.mu.Unlock()
		if fire {
			expire()
		}
	})
	return t
}

// add counts one more user and reports whether it came in time.
func (t *idleTimer) add() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.users++
	t.timer.Stop()
	return true
}

// done counts one user less; the last one starts the time.
func (t *idleTimer) done(wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users == 0 && !t.over {
		t.timer.Reset(wait)
	}
}

func (t *idleTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
}
