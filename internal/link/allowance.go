package link

import (
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// allowances bound what one peer may have and ask for at a time. Keys are free, so they are against clients that have gone
// wrong; the limits for each address are against those that mean it.
type allowances struct {
	max  [kinds]int
	rate int // Hellos a second; twice as many may come at once

	mu    sync.Mutex
	peers map[peer.ID]*allowance
}

type allowance struct {
	taken  [kinds]int
	tokens float64
	last   time.Time
}

// kind is what a peer takes places of.
type kind uint8

const (
	ofConns kind = iota
	ofCalls
	ofWatches
	kinds
)

// full is the reason for which a peer gets no more of a kind.
var full = [kinds]string{ofConns: turnedPeerConns, ofCalls: turnedPeer, ofWatches: turnedPeerWatches}

// maxIdleAllowances is how many peers without a connection are remembered for their rate.
const maxIdleAllowances = 4096

// of returns the peer's allowance, with the tokens of now.
func (a *allowances) of(id peer.ID, now time.Time) *allowance {
	p := a.peers[id]
	if p == nil {
		if a.peers == nil {
			a.peers = map[peer.ID]*allowance{}
		}
		a.purge(now)
		p = &allowance{tokens: a.burst(), last: now}
		a.peers[id] = p
	}
	p.tokens = min(a.burst(), p.tokens+now.Sub(p.last).Seconds()*float64(a.rate))
	p.last = now
	return p
}

func (a *allowances) burst() float64 { return 2 * float64(a.rate) }

// purge forgets, if there are many, those who have nothing open and whose tokens are all there again.
func (a *allowances) purge(now time.Time) {
	if len(a.peers) < maxIdleAllowances {
		return
	}
	for id, p := range a.peers {
		if p.taken == [kinds]int{} && now.Sub(p.last) > 2*time.Second {
			delete(a.peers, id)
		}
	}
}

// The reasons for which a client is turned away, as metrics name them.
const (
	turnedConns       = "connections"
	turnedHost        = "connections_per_host"
	turnedPending     = "pending"
	turnedPeerConns   = "connections_per_peer"
	turnedStreams     = "streams"
	turnedPeer        = "streams_per_peer"
	turnedWatches     = "watches"
	turnedHostWatches = "watches_per_host"
	turnedPeerWatches = "watches_per_peer"
	turnedRate        = "rate_per_peer"
	turnedPreface     = "no_hello"
	turnedHandshake   = "handshake"
)

// take takes a place of a kind, until give, unless the peer has all that it may have.
func (a *allowances) take(k kind, id peer.ID, now time.Time) (reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.of(id, now)
	if p.taken[k] >= a.max[k] {
		return full[k]
	}
	p.taken[k]++
	return ""
}

// give gives back what was taken.
func (a *allowances) give(k kind, id peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[id]; p != nil {
		p.taken[k]--
	}
}

// ask takes a token for a Hello.
func (a *allowances) ask(id peer.ID, now time.Time) (reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.of(id, now)
	if p.tokens < 1 {
		return turnedRate
	}
	p.tokens--
	return ""
}

// detail says a reason to people.
func (c ServerConfig) detail(reason string) string {
	switch reason {
	case turnedPeerConns:
		return fmt.Sprintf("one peer may have %d connections", c.MaxConnsPerPeer)
	case turnedPeer:
		return fmt.Sprintf("one peer may have %d calls open", c.MaxOpenPerPeer)
	case turnedWatches:
		return fmt.Sprintf("%d watches are open", c.MaxWatches)
	case turnedHostWatches:
		return fmt.Sprintf("one host may have %d watches open", c.MaxWatchesPerIP)
	case turnedPeerWatches:
		return fmt.Sprintf("one peer may have %d watches open", c.MaxWatchesPerPeer)
	case turnedRate:
		return fmt.Sprintf("one peer may ask %d times a second", c.MaxHellosPerPeer)
	}
	return fmt.Sprintf("%d calls are open", c.MaxOpen)
}

// turned counts who was turned away, by reason.
type turned struct {
	mu sync.Mutex
	n  map[string]int64
}

func (t *turned) add(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int64{}
	}
	t.n[reason]++
}

// counts returns all, and their sum.
func (t *turned) counts() (by map[string]int64, sum int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by = make(map[string]int64, len(t.n))
	for reason, n := range t.n {
		by[reason] = n
		sum += n
	}
	return by, sum
}
