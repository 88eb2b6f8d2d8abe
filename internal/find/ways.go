package find

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// againMax is the longest pause before a way is asked again while no instance is live.
const againMax = 30 * time.Second

// keepAsking runs one way for as long as the tracker lives.
func (t *Tracker) keepAsking(ctx context.Context, w Way) {
	pause := time.Second
	for ctx.Err() == nil {
		start := time.Now()
		err := t.ask(ctx, w)
		took := time.Since(start)
		switch live := err == nil && t.usable(); {
		case w.Name == Local: // a look into one directory
			t.rest(ctx, time.Second, func() bool { return false })
		case live:
			t.rest(ctx, t.cfg.Again, func() bool { return !t.table.usable() })
			pause = time.Second
		default:
			// Whoever looks in vain shortens the pause, but not so far that asking is most of what we do.
			least, missed := time.Now().Add(max(time.Second, 10*took)), t.lookedInVain()
			t.rest(ctx, pause, func() bool { return t.missed != missed && time.Now().After(least) })
			pause = min(2*pause, againMax)
		}
	}
}

// rest returns when the pause is over, when ctx ends, or when enough is true, which is called with the lock held at each
// change.
func (t *Tracker) rest(ctx context.Context, pause time.Duration, enough func() bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		t.mu.Lock()
		done, changed := enough(), t.changed
		t.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (t *Tracker) usable() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.usable()
}

// lookedInVain returns how often somebody has.
func (t *Tracker) lookedInVain() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missed
}

// ask runs a way once.
func (t *Tracker) ask(ctx context.Context, w Way) error {
	start := time.Now()
	sink := &waySink{Tracker: t, way: w.Name, named: map[peer.ID]bool{}}
	err := w.Run(ctx, sink)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.Name == Local { // with an error, too: a damaged registration must not keep the others from ending
		t.table.dropSockets(sink.named, time.Now())
	}
	r := t.reports[w.Name]
	r.Done, r.Err, r.Took = true, err, time.Since(start)
	if err != nil {
		t.cfg.Log.Debug("way ended", "way", w.Name, "err", err)
	}
	t.announceLocked()
	return err
}

// waySink takes what one run of a way says. It remembers which local services were named: the others have ended. The
// local way calls it from one goroutine.
type waySink struct {
	*Tracker
	way   string
	named map[peer.ID]bool
}

func (s *waySink) Found(c Candidate) {
	if c.Way == Local {
		s.named[c.Peer] = true
	}
	s.Tracker.Found(c)
}

func (s *waySink) Listed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[s.way].Done = true
	s.announceLocked()
}
