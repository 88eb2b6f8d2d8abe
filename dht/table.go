package dht

import (
	"context"
	"math/bits"
	"time"
)

const (
	tableSettled = 5 * time.Second       // between two looks at a table that has peers
	tableIdle    = time.Second           // at an empty one
	tableBusy    = 20 * time.Millisecond // after a new connection, for as long as kad-dht checks the peer
	tableCheck   = 3 * time.Second       // how long that is given
)

// table tells when the routing table fills, empties or doubles. kad-dht has callbacks for that, but they belong to it
// and are read without a lock, so the size is looked at: often while a new connection is being checked, else seldom.
type table struct {
	size   func() int
	nudged chan struct{}
	notify signal
}

func newTable(size func() int) *table {
	return &table{size: size, nudged: make(chan struct{}, 1)}
}

// state returns the size, and a channel that is closed when the table has filled, emptied or doubled since.
func (t *table) state() (int, <-chan struct{}) {
	changed := t.notify.wait()
	return t.size(), changed
}

// nudge says that a connection came or went.
func (t *table) nudge() {
	select {
	case t.nudged <- struct{}{}:
	default:
	}
}

func (t *table) run(ctx context.Context) {
	level, busy := 0, time.Time{}
	for {
		n := t.size()
		if l := bits.Len(uint(n)); l != level {
			level = l
			t.notify.fire()
		}
		timer := time.NewTimer(t.interval(n, time.Now().Before(busy)))
		select {
		case <-timer.C:
		case <-t.nudged:
			busy = time.Now().Add(tableCheck)
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (t *table) interval(n int, busy bool) time.Duration {
	switch {
	case n > 0:
		return tableSettled
	case busy:
		return tableBusy
	default:
		return tableIdle
	}
}

// filled waits until the table has a peer. It reports false when ctx ends or the time is up.
func (t *table) filled(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		n, changed := t.state()
		if n > 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
