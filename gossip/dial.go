package gossip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// dialsAtOnce is how many connections a member makes at once. When a cell starts, each member has some twenty to make, and
	// whoever dials all at once shares a busy machine with so many handshakes that most end, unanswered, at their timeout: 128
	// members on two processors needed 10 to 60 s and 300,000 packets to know each other. With three it is 5 to 8 s and 60,000.
	dialsAtOnce = 3
	// A dial that has taken slotDials times as long as one that is answered typically takes does not keep others waiting any
	// longer: the peer is gone. slotMin bounds that from below, and firstSlot is what it is before one has been answered: a
	// newcomer may have been told of more who are gone than of others.
	slotDials, slotMin, firstSlot = 4, 250 * time.Millisecond, time.Second
	// typicalWeight is the weight of one answered dial in dials.typical (RFC 6298, section 2: alpha).
	typicalWeight = 8
	// firstRest is how long a peer that could not be reached is left alone, doubled with each failure in a row up to lastRest,
	// give or take a quarter. It was dialled anew at once before, whenever there was something to send.
	firstRest, lastRest = 500 * time.Millisecond, 2 * time.Second
)

// dials keeps a member from dialling more than it, and those whom it dials, can take. Its methods may be called by many
// goroutines.
type dials struct {
	slots chan struct{} // one for each dial that may keep others waiting

	mu      sync.Mutex    // nobody waits for anything with it
	typical time.Duration // of a dial that is answered, moving average; zero before the first
	failed  map[peer.ID]failedDials
	waiting map[peer.ID]chan<- struct{} // what ends the wait for a dial to a peer
}

// failedDials are those to one peer since it was reached last.
type failedDials struct {
	count int
	until time.Time // when it may be dialled again
}

func newDials() *dials {
	return &dials{slots: make(chan struct{}, dialsAtOnce), failed: make(map[peer.ID]failedDials), waiting: make(map[peer.ID]chan<- struct{})}
}

// wait has reached told of a peer that need not be dialled any more, until stop.
func (d *dials) wait(id peer.ID, reached chan<- struct{}) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting[id] = reached
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.waiting[id] == reached {
			delete(d.waiting, id)
		}
	}
}

// connected ends the wait for a dial to a peer: there is a connection to it.
func (d *dials) connected(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case d.waiting[id] <- struct{}{}:
	default:
	}
}

// begin waits for a slot, unless reached says before that there is nothing to dial any more. Without an error the dial must end
// with done.
func (d *dials) begin(ctx context.Context, reached <-chan struct{}) (done func(answered bool), err error) {
	select {
	case d.slots <- struct{}{}:
	case <-reached:
		return func(bool) {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-d.slots })
	begun, patience := time.Now(), time.AfterFunc(d.slotTime(), free)
	return func(answered bool) {
		patience.Stop()
		free()
		if answered {
			d.took(time.Since(begun))
		}
	}, nil
}

// slotTime is how long a dial may keep others waiting.
func (d *dials) slotTime() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.typical == 0 {
		return firstSlot
	}
	return min(max(slotDials*d.typical, slotMin), OpenTimeout)
}

func (d *dials) took(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.typical == 0 {
		d.typical = t
		return
	}
	d.typical += (t - d.typical) / typicalWeight
}

// rest is how much longer a peer is left alone.
func (d *dials) rest(id peer.ID) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Until(d.failed[id].until)
}

// fail notes that a peer could not be reached.
func (d *dials) fail(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.failed[id]
	rest := min(firstRest<<min(f.count, 8), lastRest)
	d.failed[id] = failedDials{f.count + 1, time.Now().Add(rest*3/4 + rand.N(rest/2))}
}

// forget ends a peer's rest: it has been reached, or is nobody's business any more.
func (d *dials) forget(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.failed, id)
}
