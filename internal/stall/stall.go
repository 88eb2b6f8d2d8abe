// Package stall keeps a process that gets no processor from blaming others for it. A timeout that the wall clock measures ends
// as well while the process that waits does not run: the answer may long lie in its socket. Cassandra calls that a local
// pause, and discards what it has timed meanwhile; Lifeguard (arXiv 1707.00788) stretches the timeouts of whoever is slow.
package stall

import (
	"context"
	"sync"
	"time"
)

const (
	// steps is how many timers one timeout is made of.
	steps = 8
	// most is how many times as long as it was meant a timeout may take by the wall clock, however late its timers are.
	most = 8
)

// WithTimeout is context.WithTimeout for a wait on somebody else: time in which this process stood still, or came late to its
// own timers, does not count. The context has no Deadline of its own, since nobody can know it. It ends with DeadlineExceeded, and
// so do those that are made of it. After cancel, or its end, nothing of it is left running.
func WithTimeout(parent context.Context, d time.Duration) (ctx context.Context, cancel context.CancelFunc) {
	t := &timeout{
		Context: parent, done: make(chan struct{}),
		meter: meter{step: max(d/steps, 1), left: steps, end: time.Now().Add(most * d)},
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.meter.step, t.tick)
	t.detach = context.AfterFunc(parent, func() { t.end(parent.Err()) })
	return t, func() { t.end(context.Canceled) }
}

// timeout is a context that ends when its meter has run out. Its values and its Deadline are its parent's.
type timeout struct {
	context.Context
	done chan struct{}

	mu     sync.Mutex
	err    error
	timer  *time.Timer
	detach func() bool
	meter  meter
}

func (t *timeout) Done() <-chan struct{} { return t.done }

func (t *timeout) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// tick is one step of the meter.
func (t *timeout) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next := t.meter.tick(time.Now()); next > 0 && t.err == nil {
		t.timer.Reset(next)
		return
	}
	t.endLocked(context.DeadlineExceeded)
}

func (t *timeout) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(err)
}

// endLocked ends the context, if it has not ended; the lock is held.
func (t *timeout) endLocked(err error) {
	if t.err != nil {
		return
	}
	t.err = err
	t.timer.Stop()
	t.detach()
	close(t.done)
}

// meter counts the steps of a timeout: one for each timer, however late it came.
type meter struct {
	step time.Duration
	left int
	end  time.Time // by the wall clock
}

// tick takes the end of one step, and returns how long the next one lasts; 0 says that there is none.
func (m *meter) tick(now time.Time) time.Duration {
	m.left--
	if m.left <= 0 || !now.Before(m.end) {
		return 0
	}
	return m.step
}
