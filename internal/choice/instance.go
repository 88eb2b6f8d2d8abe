package choice

import (
	"sync/atomic"
	"time"
)

// A Kind is a kind of call. Each has its own estimate of how long it takes; what is in flight counts together.
type Kind int

const (
	// RPC is a call with an answer: gRPC's unary ones.
	RPC Kind = iota
	// HTTP is a request; its answer is the header.
	HTTP
	// Stream is a connection; its answer is that it stands.
	Stream
	kinds
)

// An Outcome is how a call ended.
type Outcome int

const (
	// Answered: the instance did what it was asked, or said why not.
	Answered Outcome = iota
	// Failed: the instance is at fault.
	Failed
	// Ended: the caller lost interest before there was an answer, which may have been a while.
	Ended
)

// An Instance is a member of a Set and what calls to it have taught. Its methods may be called by any number of goroutines.
type Instance struct {
	ID  string
	set *Set

	at        atomic.Pointer[Member]
	inFlight  atomic.Int64
	waiting   atomic.Int64 // of those in flight, the calls that have had no answer
	silent    atomic.Int64 // since when nothing has come while calls waited, Unix ns
	picked    atomic.Uint64
	estimates [kinds]estimate
	ejection  ejection
}

func (i *Instance) update(m Member) {
	i.at.Store(&m)
	for k := range i.estimates {
		i.estimates[k].base.Store(int64(max(m.RTT, leastRTT)))
	}
}

// retire takes the instance out of every choice until it is kept again.
func (i *Instance) retire() {
	m := i.Member()
	m.Draining = true
	i.at.Store(&m)
}

// Member returns the instance as discovery described it last.
func (i *Instance) Member() Member { return *i.at.Load() }

// InFlight returns how many calls to the instance have begun and not ended.
func (i *Instance) InFlight() int { return int(i.inFlight.Load()) }

// Picked returns how many calls have begun.
func (i *Instance) Picked() uint64 { return i.picked.Load() }

// Begin counts a call that is about to be made.
func (i *Instance) Begin() {
	i.inFlight.Add(1)
	i.picked.Add(1)
}

// End counts it off.
func (i *Instance) End() { i.inFlight.Add(-1) }

// Await says that a call that has begun waits for its answer, for calls that have one soon: a stream may be silent for hours.
func (i *Instance) Await(now time.Time) {
	if i.waiting.Load() == 0 {
		i.silent.Store(now.UnixNano())
	}
	i.waiting.Add(1)
}

// Heard says that it waits no more: the answer has come, or will not.
func (i *Instance) Heard() { i.waiting.Add(-1) }

// Learn takes how a call went and how long its answer took. A call has one answer, before it ends or when it does.
func (i *Instance) Learn(k Kind, o Outcome, took time.Duration, now time.Time) {
	switch o {
	case Answered:
		i.estimates[k].observe(took, now)
		if k != Stream { // whoever hangs may still accept connections
			i.silent.Store(now.UnixNano())
		}
		i.ejection.succeeded(now)
	case Failed:
		// A failure is no fast answer: who fails at once would draw all calls.
		i.estimates[k].raise(max(took, failureCost), now)
		if i.ejection.failed(took, now) && i.set.mayEject(now) {
			i.ejection.eject(now)
		}
	case Ended:
		i.estimates[k].raise(took, now)
	}
}

// Outcome takes how a call without a measurable answer went: a gRPC stream lasts as long as its caller likes.
func (i *Instance) Outcome(o Outcome, now time.Time) {
	switch o {
	case Answered:
		i.ejection.succeeded(now)
	case Failed:
		i.Learn(RPC, Failed, 0, now)
	}
}

// Ejected reports whether the instance is put aside for its failures.
func (i *Instance) Ejected(now time.Time) bool { return i.ejection.holds(now.UnixNano()) }

// silence is how long calls have waited while no answer came, in nanoseconds: the least that the next one may take.
func (i *Instance) silence(now int64) float64 {
	if i.waiting.Load() == 0 {
		return 0
	}
	return float64(now - i.silent.Load())
}

// cost is what a call of a kind to the instance costs: nanoseconds for it and for all that wait there.
func (i *Instance) cost(k Kind, local bool, now int64) float64 {
	c := max(i.estimates[k].read(now), i.silence(now)) * float64(i.inFlight.Load()+1)
	if local {
		c /= localFavour
	}
	return c
}

const (
	// leastRTT is the round trip to an instance on this machine, which is measured as none.
	leastRTT = 20 * time.Microsecond
	// localFavour is how much dearer the best instance elsewhere must be for calls to go to this machine's all the same.
	localFavour = 4
	// failureCost is what a failure counts for besides the time that it took: one sends the next calls to others where
	// there are any within it, a few in a row eject.
	failureCost = time.Second
)
