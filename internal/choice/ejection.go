package choice

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ejectAfter is how many failures in a row eject an instance: Envoy's and gRPC's figure.
	ejectAfter = 5
	// The first ejection lasts ejectMin, the next one twice that, up to ejectMax. An instance that has stayed well for
	// ejectMax begins anew.
	ejectMin = 5 * time.Second
	ejectMax = time.Minute
)

// An ejection is the record of an instance's failures.
type ejection struct {
	until    atomic.Int64 // Unix ns
	failures atomic.Int32 // in a row

	mu    sync.Mutex
	times int
}

// holds reports whether the instance is put aside.
func (e *ejection) holds(now int64) bool { return now < e.until.Load() }

func (e *ejection) succeeded(time.Time) {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
	}
}

// failed counts a failure that took so long, and reports whether the instance should be ejected. One suffices if the call
// began within ejectMin of the end of the last ejection: one that hangs may fail much later. Of calls from before that
// ejection the usual number is needed.
func (e *ejection) failed(took time.Duration, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := now.UnixNano()
	if e.holds(at) {
		return false
	}
	began := time.Duration(at - int64(took) - e.until.Load()) // since the end
	if began >= ejectMax {
		e.times = 0
	}
	return e.failures.Add(1) >= ejectAfter || e.times > 0 && began.Abs() < ejectMin
}

func (e *ejection) eject(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until.Store(now.Add(min(ejectMax, ejectMin<<min(e.times, 10))).UnixNano())
	e.times++
	e.failures.Store(0)
}

// mayEject reports whether one more instance may be put aside: at least half are left. Where all fail it is the calls that
// are at fault, or the network.
func (s *Set) mayEject(now time.Time) bool {
	kept, out := s.Kept(), 1
	for _, i := range kept {
		if i.Ejected(now) {
			out++
		}
	}
	return 2*out <= len(kept)
}
