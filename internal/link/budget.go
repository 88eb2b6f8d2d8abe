package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What a Budget grants.
const (
	hostBurst, hostRate = 64, 2.0  // unproved dials to one IPv4 address or IPv6 /64; a second
	netBurst, netRate   = 256, 8.0 // to one IPv4 /24 or IPv6 /48
	provedFor           = 30 * time.Minute
	maxBuckets          = 8192
)

// A Budget keeps a process from being turned into a weapon: anyone can sign a record that names somebody else's
// addresses. Until a peer has proved, in a handshake, that it is at an address, dials of that address need the
// budget: one in flight for a port of an IP, and so many for an IP and for its network, which come back at a fixed
// rate. A dial that ends in the right peer's handshake costs nothing. Loopback is free.
//
// All Dialers of a process share one unless DialerConfig.Budget says otherwise.
type Budget struct {
	mu      sync.Mutex
	buckets map[netip.Prefix]*bucket
	proved  map[place]time.Time
	busy    map[port]chan struct{} // closed when the dial in flight has ended
}

// A port is where a dial goes to. TCP's and UDP's of one number are two: a firewall that swallows the one may let the
// other through, and then a dial of it must not wait.
type port struct {
	path string // TCP or QUIC, or LIBP2P with the peer behind the relay
	at   netip.AddrPort
}

type place struct {
	peer peer.ID
	port
}

type bucket struct {
	spent float64
	at    time.Time
}

// NewBudget returns a full budget.
func NewBudget() *Budget {
	return &Budget{
		buckets: map[netip.Prefix]*bucket{}, proved: map[place]time.Time{}, busy: map[port]chan struct{}{},
	}
}

var sharedBudget = NewBudget()

// dial asks leave for one dial. It waits while another one to the same port is in flight and returns
// ErrBudget when there is nothing left to spend. The caller calls done once, with nil if the peer was there.
func (b *Budget) dial(ctx context.Context, id peer.ID, to port) (done func(error), err error) {
	if to.at.Addr().IsLoopback() {
		return func(error) {}, nil
	}
	p := place{id, to}
	for {
		wait, paid, err := b.try(p)
		if err != nil {
			return nil, err
		}
		if wait == nil {
			return func(err error) { b.done(p, paid, err) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try takes what one dial costs, or returns what to wait for before trying again.
func (b *Budget) try(p place) (wait <-chan struct{}, paid bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if at, ok := b.proved[p]; ok && now.Sub(at) < provedFor {
		return nil, false, nil
	}
	if wait := b.busy[p.port]; wait != nil {
		return wait, false, nil
	}
	host, network := b.bucketsOf(p.at.Addr(), now)
	if host.spent > hostBurst-1 || network.spent > netBurst-1 {
		return nil, false, fmt.Errorf("%w: %s", ErrBudget, p.at.Addr())
	}
	host.spent++
	network.spent++
	b.busy[p.port] = make(chan struct{})
	return nil, true, nil
}

func (b *Budget) done(p place, paid bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if paid {
		close(b.busy[p.port])
		delete(b.busy, p.port)
		if err == nil {
			host, network := b.bucketsOf(p.at.Addr(), now)
			host.spent, network.spent = max(0, host.spent-1), max(0, network.spent-1)
		}
	}
	switch {
	case err == nil && len(b.proved) >= maxBuckets:
		clear(b.proved) // costs a few dials of the budget, no more
		fallthrough
	case err == nil:
		b.proved[p] = now
	case !errors.Is(err, context.Canceled): // a race that another address won says nothing of this one
		delete(b.proved, p)
	}
}

// bucketsOf returns the buckets of an address and of its network, refilled up to now.
func (b *Budget) bucketsOf(ip netip.Addr, now time.Time) (host, network *bucket) {
	hostBits, netBits := 32, 24
	if ip.Is6() {
		hostBits, netBits = 64, 48
	}
	if len(b.buckets) >= maxBuckets {
		b.forgetFull(now)
	}
	h, _ := ip.Prefix(hostBits)
	n, _ := ip.Prefix(netBits)
	return b.bucket(h, hostRate, now), b.bucket(n, netRate, now)
}

func (b *Budget) bucket(key netip.Prefix, rate float64, now time.Time) *bucket {
	k := b.buckets[key]
	if k == nil {
		k = &bucket{at: now}
		b.buckets[key] = k
	}
	k.spent = max(0, k.spent-rate*max(0, now.Sub(k.at).Seconds()))
	k.at = now
	return k
}

// forgetFull drops the buckets in which nothing is spent any more, or, if an attacker filled them all, those that
// waited longest.
func (b *Budget) forgetFull(now time.Time) {
	for age := netBurst / hostRate * time.Second; len(b.buckets) >= maxBuckets/2 && age > 0; age /= 2 {
		for key, k := range b.buckets {
			if now.Sub(k.at) > age {
				delete(b.buckets, key)
			}
		}
	}
	if len(b.buckets) >= maxBuckets {
		clear(b.buckets)
	}
}
