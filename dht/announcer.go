package dht

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const announceTimeout = 60 * time.Second // of one announcement

// Announcer keeps one key announced: every 5 minutes less some jitter, and at once when the host's addresses change,
// when the first peer appears in an empty routing table, soon after the table has doubled, and when asked by Now. An
// announcement that failed is made again after 5 s, doubling to 1 minute, and as soon as a peer is connected after a time in
// which none was: then the network is back. On Amino the interval is 6 hours.
type Announcer struct {
	d      *DHT
	key    cid.Cid
	seeds  func() []peer.ID
	should func() bool

	kick   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	ready  chan struct{}
	once   sync.Once // ready

	mu     sync.Mutex
	status Status
}

// StartAnnouncing announces key until Stop or Close. seeds are the cell's own, which get the record in any case; should
// says, before each announcement, whether this node is to announce (Announces). Both may be nil: no seeds, always. They
// are called from the Announcer's goroutine. ErrAnnouncing: the key has an Announcer.
func (d *DHT) StartAnnouncing(key cid.Cid, seeds func() []peer.ID, should func() bool) (*Announcer, error) {
	if seeds == nil {
		seeds = func() []peer.ID { return nil }
	}
	if should == nil {
		should = func() bool { return true }
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if d.announcers[key] != nil {
		return nil, ErrAnnouncing
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Announcer{
		d: d, key: key, seeds: seeds, should: should, cancel: cancel,
		kick: make(chan struct{}, 1), done: make(chan struct{}), ready: make(chan struct{}),
		status: Status{Key: key},
	}
	d.announcers[key] = a
	go a.run(ctx)
	return a, nil
}

// Ready is closed when the record has been announced and read back once, when the node was found to be alone, or when
// should said that others announce.
func (a *Announcer) Ready() <-chan struct{} { return a.ready }

// Now announces at once, whatever is due.
func (a *Announcer) Now() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Stop ends the announcing and returns when its goroutine has ended. Records already written live on to their age.
func (a *Announcer) Stop() {
	a.cancel()
	<-a.done
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.announcers[a.key] == a {
		delete(a.d.announcers, a.key)
	}
}

func (a *Announcer) run(ctx context.Context) {
	defer close(a.done)
	a.d.awaitTable(ctx)
	s := schedule{every: announceEvery}
	if a.d.cfg.Amino {
		s.every = aminoEvery
	}
	for ctx.Err() == nil {
		addrs, moved, back := a.d.kad.FilteredAddrs(), a.d.addrs.wait(), a.d.back.wait()
		size, grown := a.d.table.state()
		got, ready := a.attempt(ctx)
		s.done(time.Now(), got, size, rand.Float64())
		a.update(func(st *Status) { st.Due = s.due })
		if ready { // whoever waited finds the whole status
			a.markReady()
		}
		a.wait(ctx, &s, addrs, moved, back, grown)
	}
}

// attempt announces once, if it is this node's turn, and reports whether that makes the Announcer ready.
func (a *Announcer) attempt(ctx context.Context) (got outcome, ready bool) {
	if !a.should() {
		a.update(func(st *Status) { st.Announcing, st.Err = false, nil })
		return idle, true
	}
	limited, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	made, err := a.d.announce(limited, a.key, a.seeds(), a.heldByOne)
	if ctx.Err() != nil {
		return failed, false
	}
	a.report(made, err)
	a.update(func(st *Status) { st.record(made, err) })
	return outcomeOf(made, err), made.ReadBack || made.Alone
}

// wait returns when the next announcement is due.
func (a *Announcer) wait(ctx context.Context, s *schedule, addrs []ma.Multiaddr, moved, back, grown <-chan struct{}) {
	for {
		timer := time.NewTimer(time.Until(s.due))
		select {
		case <-timer.C:
			return
		case <-a.kick:
			timer.Stop()
			return
		case <-moved:
			moved = a.d.addrs.wait()
			if now := a.d.kad.FilteredAddrs(); !sameAddrs(addrs, now) {
				addrs = now
				s.addrsChanged(time.Now())
			}
		case <-back:
			back = a.d.back.wait()
			s.networkBack(time.Now())
		case <-grown:
			var size int
			size, grown = a.d.table.state()
			s.tableChanged(time.Now(), size)
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		a.update(func(st *Status) { st.Due = s.due })
	}
}

func (a *Announcer) update(f func(*Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.status)
}

// report logs an announcement: a failure aloud once, until one has gone well.
func (a *Announcer) report(got Announced, err error) {
	switch {
	case err == nil:
		a.d.log.Debug("announced", "cid", a.key, "replicas", got.Replicas, "confirmed", got.Confirmed, "asked", got.Asked)
	case a.Status().Failures == 0:
		a.d.log.Warn("announcement failed", "cid", a.key, "err", err)
	default:
		a.d.log.Debug("announcement failed again", "cid", a.key, "err", err)
	}
}

// heldByOne notes the first holder that has returned the record, which is enough to be ready; others follow.
func (a *Announcer) heldByOne() {
	one := Announced{Replicas: 1, Asked: 1, Confirmed: 1, ReadBack: true, At: time.Now()}
	a.update(func(st *Status) { st.record(one, nil) })
	a.markReady()
}

func (a *Announcer) markReady() { a.once.Do(func() { close(a.ready) }) }

func sameAddrs(a, b []ma.Multiaddr) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(x ma.Multiaddr) bool {
		return !slices.ContainsFunc(b, x.Equal)
	})
}
