package find

import (
	"context"
	"time"
)

// A last resort that has failed is run again after resortMin, twice that, and so on up to resortMax: it may be a build.
const (
	resortMin = 2 * time.Second
	resortMax = 2 * time.Minute
	// resortLook is how often When is asked without a change: it may depend on how long something has been so.
	resortLook = time.Second
	// resortPatience is how long a way that hangs may hold up a last resort that is wanted.
	resortPatience = 5 * time.Second
)

// keepReady runs a last resort whenever it is due, for as long as the tracker lives.
func (t *Tracker) keepReady(ctx context.Context, w Way) {
	pause := resortMin
	for t.awaitResort(ctx, w) {
		if t.ask(ctx, w) == nil {
			pause = resortMin
			continue
		}
		t.mu.Lock()
		t.resort = time.Now().Add(pause)
		t.announceLocked()
		t.mu.Unlock()
		pause = min(2*pause, resortMax)
	}
}

// awaitResort returns true when a last resort is due, which from then on counts as being asked, or false when ctx ends.
func (t *Tracker) awaitResort(ctx context.Context, w Way) bool {
	look := time.NewTicker(resortLook)
	defer look.Stop()
	var wanted time.Time // since when, without a break
	for {
		t.mu.Lock()
		due, changed := t.dueLocked(w), t.changed
		switch {
		case !due:
			wanted = time.Time{}
		case wanted.IsZero():
			wanted = time.Now()
		}
		due = due && (t.askedLocked() || time.Since(wanted) >= resortPatience)
		if due {
			t.reports[w.Name].Done = false
		}
		t.mu.Unlock()
		if due {
			return true
		}
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// dueLocked reports whether a last resort is wanted and has not just been run.
func (t *Tracker) dueLocked(w Way) bool {
	return w.When(t.table.instances()) && !time.Now().Before(t.resort)
}

// resortLocked reports whether a last resort is about to be run.
func (t *Tracker) resortLocked() bool {
	for _, w := range t.cfg.Ways {
		if w.When != nil && t.dueLocked(w) {
			return true
		}
	}
	return false
}
