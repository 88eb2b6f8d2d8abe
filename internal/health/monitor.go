package health

import (
	"context"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// Monitor repeats a check.
type Monitor struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Watch checks at once and then every interval of h, from start to start; a check that takes longer delays the next.
// changed is told of the first verdict and of every change: nil when the service is well, which one success proves, and
// the last error when it failed h.Failures times in a row. A failure that does not suffice yet is followed by the next check
// after a quarter of the interval, so that a service that is gone is told of at most Interval + (Failures-1)·Interval/4 after
// it went, and one that hangs at most Interval + Failures·max(Timeout, Interval/4).
//
// The Monitor owns check from then on. changed is called from one goroutine, which it holds up; it must not call Close.
func Watch(h manifest.Health, check Check, changed func(error)) (*Monitor, error) {
	h, err := withDefaults(h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Monitor{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		defer check.Close()
		watch(ctx, h, check, changed)
	}()
	return m, nil
}

// Close ends the checks; a check under way is broken off and does not count. It returns when changed will not be called
// again, and is idempotent.
func (m *Monitor) Close() error {
	m.cancel()
	<-m.done
	return nil
}

func watch(ctx context.Context, h manifest.Health, check Check, changed func(error)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	v := verdict{limit: h.Failures}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		err := once(ctx, h.Timeout, check)
		if ctx.Err() != nil {
			return
		}
		if v.add(err) {
			changed(err)
		}
		timer.Reset(time.Until(begun.Add(v.interval(h.Interval))))
	}
}

// verdict counts results.
type verdict struct {
	limit    int // failures in a row that make a service unwell
	failures int // in a row
	state    state
}

type state uint8

const (
	unknown state = iota
	well
	unwell
)

// interval is the time from one check to the next.
func (v *verdict) interval(normal time.Duration) time.Duration {
	if v.failures > 0 && v.failures < v.limit {
		return normal / 4
	}
	return normal
}

// add says whether err, the result of one more check, changes the verdict.
func (v *verdict) add(err error) (changed bool) {
	was := v.state
	if err == nil {
		v.failures, v.state = 0, well
	} else if v.failures++; v.failures >= v.limit {
		v.state = unwell
	}
	return v.state != was
}
