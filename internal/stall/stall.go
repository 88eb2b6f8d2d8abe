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
// own timers, does not count. The context has no Deadline, since nobody can know it. Once cancel has been called, or the context
// has ended, nothing of it is left running.
func WithTimeout(parent context.Context, d time.Duration) (ctx context.Context, cancel context.CancelFunc) {
	inner, stop := context.WithCancelCause(parent)
	t := &timeout{Context: inner, stop: stop, meter: meter{step: max(d/steps, 1), left: steps, end: time.Now().Add(most * d)}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.meter.step, t.tick)
	t.detach = context.AfterFunc(inner, t.end)
	return t, func() { stop(context.Canceled) }
}

// timeout is a context that ends with DeadlineExceeded when its meter has run out.
type timeout struct {
	context.Context
	stop   context.CancelCauseFunc
	detach func() bool

	mu    sync.Mutex
	timer *time.Timer
	meter meter
}

// Err returns DeadlineExceeded after the timeout, as that of context.WithTimeout does.
func (t *timeout) Err() error {
	if err := t.Context.Err(); err == nil || context.Cause(t.Context) != context.DeadlineExceeded {
		return err
	}
	return context.DeadlineExceeded
}

// tick is one step of the meter.
func (t *timeout) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next := t.meter.tick(time.Now()); next > 0 {
		t.timer.Reset(next)
		return
	}
	t.stop(context.DeadlineExceeded)
}

// end stops the timer of a context that has ended.
func (t *timeout) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Stop()
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
