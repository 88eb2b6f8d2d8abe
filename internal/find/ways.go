package find

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// keepAsking runs one way for as long as the tracker lives.
func (t *Tracker) keepAsking(ctx context.Context, w Way) {
	pause := time.Second
	for {
		if err := t.ask(ctx, w); err == nil && t.Snapshot().usable() {
			pause = t.cfg.Again
		}
		if w.Name == Local {
			pause = time.Second // a look into one directory
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, t.cfg.Again)
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
		t.table.dropSockets(sink.named)
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
