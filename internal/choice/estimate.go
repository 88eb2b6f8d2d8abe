package choice

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// memory is the time in which an estimate loses all but 1/e of its excess over the round trip.
const memory = 2 * time.Second

// An estimate is how long an answer takes: the round trip, and an excess over it that follows what was observed, upwards
// at once and downwards with time (peak-EWMA, as in Twitter's Finagle). Reading takes no lock; a reader beside a
// writer may see the excess of one observation with the time of another, which errs by as much as those differ.
type estimate struct {
	base   atomic.Int64  // ns
	excess atomic.Uint64 // ns, a float64
	stamp  atomic.Int64  // when excess was true, Unix ns

	mu sync.Mutex // of writers
}

// read returns the estimate in nanoseconds.
func (e *estimate) read(now int64) float64 {
	return float64(e.base.Load()) + e.excessAt(now)
}

func (e *estimate) excessAt(now int64) float64 {
	excess := math.Float64frombits(e.excess.Load())
	if excess == 0 {
		return 0
	}
	return excess * fade(now-e.stamp.Load())
}

func fade(ns int64) float64 { return math.Exp(-float64(max(0, ns)) / float64(memory)) }

// observe takes an answer.
func (e *estimate) observe(took time.Duration, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := max(0, float64(int64(took)-e.base.Load()))
	old, at := math.Float64frombits(e.excess.Load()), now.UnixNano()
	if v < old {
		w := fade(at - e.stamp.Load())
		v = old*w + v*(1-w)
	}
	e.set(v, at)
}

// raise sees to it that the estimate is not below what is known to be too little.
func (e *estimate) raise(least time.Duration, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := now.UnixNano()
	if v := float64(int64(least) - e.base.Load()); v > e.excessAt(at) {
		e.set(v, at)
	}
}

func (e *estimate) set(excess float64, at int64) {
	e.excess.Store(math.Float64bits(excess))
	e.stamp.Store(at)
}

// leastExcess returns how much the quickest of those instances that have been called takes beyond its round trip.
func leastExcess(list []*Instance, k Kind, now time.Time) (least time.Duration, ok bool) {
	at := now.UnixNano()
	for _, i := range list {
		if i.estimates[k].stamp.Load() == 0 {
			continue
		}
		if excess := time.Duration(i.estimates[k].excessAt(at)); !ok || excess < least {
			least, ok = excess, true
		}
	}
	return least, ok
}
