package gossip

import (
	"context"
	"sync"
)

// maxPending is how many events a watcher may be behind.
const maxPending = 1 << 14

// watcher collects events for one call of Watch.
type watcher struct {
	mu      sync.Mutex
	pending []Event
	slow    bool
	ready   chan struct{}
}

func (w *watcher) put(events []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slow = w.slow || len(w.pending)+len(events) > maxPending; !w.slow {
		w.pending = append(w.pending, events...)
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *watcher) take() ([]Event, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.pending
	w.pending = nil
	return events, !w.slow
}

// Watch calls f with what happens, in order and one call at a time, until ctx or the Gossip ends. The first call
// brings a Joined event for every member of that moment, so nothing falls between Members and Watch. If f falls too
// far behind, Watch returns ErrSlow.
func (g *Gossip) Watch(ctx context.Context, f func([]Event)) error {
	w := &watcher{ready: make(chan struct{}, 1)}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return ErrClosed
	}
	var first []Event
	for _, member := range g.machine.Members() {
		first = append(first, Event{Joined, member})
	}
	g.watchers[w] = true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.watchers, w)
		g.mu.Unlock()
	}()
	f(first)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.ctx.Done():
			return ErrClosed
		case <-w.ready:
		}
		events, ok := w.take()
		if !ok {
			return ErrSlow
		}
		if len(events) > 0 {
			f(events)
		}
	}
}

// publish hands events to the watchers and to the log.
func (g *Gossip) publish(events []Event) {
	if len(events) == 0 {
		return
	}
	for w := range g.watchers {
		w.put(events)
	}
	for _, e := range events {
		if e.Member.Record != nil && !e.Member.Self {
			g.log.Info("member "+e.Kind.String(), "peer", e.Member.Record.Peer)
		}
	}
}
