package client

import (
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

// When a cell is run here and when its far instances are used again. The two differ, so that a round trip that wavers
// about the limit starts nothing and gives nothing up.
const (
	farFor    = 3 * time.Second  // every instance beyond the limit for so long: one is started here. None at all: at once
	nearFor   = 10 * time.Second // one within nearShare of the limit for so long: what was started here is given up
	nearShare = 0.8
)

// nearness says whether a cell with auto_spawn is to be run here. It is told of its instances again and again. Its methods
// may be called by any number of goroutines.
type nearness struct {
	limit *time.Duration // of the policy; nil: none is too far
	only  bool           // only what runs here counts: the cell is developed here

	mu    sync.Mutex
	far   time.Time // since when every instance is beyond the limit; zero: it is not so
	near  time.Time // since when one is within nearShare of it; zero: it is not so
	given bool      // what was started here is not used
}

func newNearness(p manifest.Policy) *nearness { return &nearness{limit: p.MaxLatency} }

// wants takes the live instances, the nearest first, and reports whether one is to be started here now.
func (n *nearness) wants(live []find.Instance, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	here, best := false, time.Duration(-1)
	for _, i := range live {
		switch {
		case !i.Usable():
		case i.Self || i.Path == find.Local:
			here = true
		case i.Live() && best < 0 && !n.only:
			best = i.RTT
		}
	}
	n.far = since(n.far, best < 0 || !n.within(best, 1), now)
	n.near = since(n.near, best >= 0 && n.within(best, nearShare), now)
	switch {
	case !n.near.IsZero() && now.Sub(n.near) >= nearFor:
		n.given = true
	case !n.far.IsZero():
		n.given = false
	}
	return !here && !n.far.IsZero() && (best < 0 || now.Sub(n.far) >= farFor)
}

// within reports whether a round trip is within a share of the limit.
func (n *nearness) within(rtt time.Duration, share float64) bool {
	return n.limit == nil || float64(rtt) <= share*float64(*n.limit)
}

// since is when something began to be so without a break; zero: it is not so.
func since(before time.Time, is bool, now time.Time) time.Time {
	switch {
	case !is:
		return time.Time{}
	case before.IsZero():
		return now
	}
	return before
}

// gaveUp reports whether what was started here is not to be used, as others are near. A nil nearness never gives up.
func (n *nearness) gaveUp() bool {
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.given
}
