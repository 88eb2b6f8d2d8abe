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
	for {
		err := t.ask(ctx, w)
		switch live := err == nil && t.Snapshot().usable(); {
		case w.Name == Local: // a look into one directory
			t.rest(ctx, time.Second, false)
		case live:
			t.rest(ctx, t.cfg.Again, true)
			pause = time.Second
		default:
			t.rest(ctx, pause, false)
			pause = min(2*pause, againMax)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// rest returns when the pause is over, when ctx ends, or, if live, when the last usable instance is gone.
func (t *Tracker) rest(ctx context.Context, pause time.Duration, live bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		t.mu.Lock()
		usable, changed := t.snapshotLocked().usable(), t.changed
		t.mu.Unlock()
		if live && !usable {
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
	if w.Name == Local && err == nil {
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
