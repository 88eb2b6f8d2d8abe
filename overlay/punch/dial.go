package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link"
)

const (
	// openLimit is how long a path may take to open: a meeting at the relay, and a hole punch with its second try.
	openLimit = 4500 * time.Millisecond
	// tryLimit is how long one meeting may take to bring that about, and staleLimit what is left to one that others began.
	tryLimit   = 2500 * time.Millisecond
	staleLimit = 1500 * time.Millisecond
	// dialTimeout bounds one try of a hole punch, and the dial of a public address before it.
	dialTimeout = 2 * time.Second
)

var (
	// ErrClosed: the Puncher is closed.
	ErrClosed = errors.New("punch: closed")
	// ErrUnseen: no public node has told us our own address, which the far end would have to know.
	ErrUnseen = errors.New("punch: no public node has said at which address it sees us")
	// ErrNoHole: both ends have tried to reach each other, and neither got through.
	ErrNoHole = errors.New("punch: no hole could be punched")
)

// meeting is where a peer is met.
type meeting struct {
	peer    peer.ID
	circuit string
}

// attempt is one opening of a path, for all who wait for it.
type attempt struct {
	done chan struct{}
	err  error // valid when done is closed
}

// awaited is a peer to which attempts are under way, at one relay or at several.
type awaited struct {
	attempts int
	direct   chan struct{} // closed by stands: a direct connection does
	stands   func()
}

// Dial opens a stream of cell/1 to a peer. Where no direct connection stands, it has the relay of the circuit introduce us
// first. That goes on when ctx ends, so that the next call finds the path.
func (p *Puncher) Dial(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	if err := p.open(ctx, id, circuit); err != nil {
		return nil, err
	}
	s, err := p.host.NewStream(network.WithNoDial(ctx, link.Protocol), id, link.Protocol)
	if err != nil {
		return nil, fmt.Errorf("punch: %w", err)
	}
	return Conn(s), nil
}

// open returns when a direct connection to the peer stands.
func (p *Puncher) open(ctx context.Context, id peer.ID, circuit ma.Multiaddr) error {
	if p.isDirect(id) {
		return nil
	}
	a, err := p.attempt(id, circuit)
	if err != nil {
		return err
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Puncher) isDirect(id peer.ID) bool {
	return p.host.Network().Connectedness(id) == network.Connected
}

// attempt returns the one that is under way, or a new one.
func (p *Puncher) attempt(id peer.ID, circuit ma.Multiaddr) (*attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	key := meeting{id, circuit.String()}
	if a := p.attempts[key]; a != nil {
		return a, nil
	}
	a := &attempt{done: make(chan struct{})}
	p.attempts[key] = a
	w := p.awaited[id]
	if w == nil {
		w = &awaited{direct: make(chan struct{})}
		w.stands = sync.OnceFunc(func() { close(w.direct) })
		p.awaited[id] = w
	}
	w.attempts++
	p.wg.Go(func() {
		a.err = p.meet(id, circuit, w.direct)
		close(a.done)
		p.met(key, w)
	})
	return a, nil
}

// met ends an attempt; the last one closes what leads to the peer through a relay.
func (p *Puncher) met(key meeting, w *awaited) {
	p.mu.Lock()
	delete(p.attempts, key)
	w.attempts--
	last := w.attempts == 0
	if last {
		delete(p.awaited, key.peer)
	}
	p.mu.Unlock()
	if last {
		p.hangUp(key.peer)
	}
}

// hangUp closes what leads to the peer through a relay.
func (p *Puncher) hangUp(id peer.ID) {
	for _, c := range p.host.Network().ConnsToPeer(id) {
		if c.Stat().Limited {
			_ = c.Close() // the relay would end it anyhow
		}
	}
}

// meet connects to the peer through the relay, and waits until the two of them have got through to each other: the
// one that was called begins with that, once for each connection. So a connection on which that came to nothing is given up
// for a new one.
func (p *Puncher) meet(id peer.ID, circuit ma.Multiaddr, direct <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(p.ctx, openLimit)
	defer cancel()
	select {
	case <-p.ready:
	case <-ctx.Done():
		return ErrUnseen
	}
	for began := time.Now(); ; p.hangUp(id) {
		limit := tryLimit
		if p.host.Network().Connectedness(id) == network.Limited { // others on this host have met it, maybe too early
			limit = staleLimit
		} else if err := p.connect(ctx, id, circuit); err != nil {
			return fmt.Errorf("punch: the relay does not bring us together: %w", err)
		}
		if p.isDirect(id) {
			return nil
		}
		p.log.Debug("met at a relay", "peer", id, "after", time.Since(began))
		try, cancel := context.WithTimeout(ctx, limit)
		select {
		case <-direct:
			p.log.Debug("a path is open", "peer", id, "after", time.Since(began))
		case <-try.Done():
		}
		cancel()
		switch {
		case p.isDirect(id):
			return nil
		case p.ctx.Err() != nil:
			return ErrClosed
		case ctx.Err() != nil:
			return p.noHole()
		}
	}
}

// connect connects to the peer, through the relay or otherwise. How often that is tried is decided by whoever calls Dial, so the
// swarm's own backoff is lifted.
func (p *Puncher) connect(ctx context.Context, id peer.ID, circuit ma.Multiaddr) error {
	if s, ok := p.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(id)
	}
	return p.host.Connect(ctx, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{circuit}})
}

// noHole says why, as far as one can tell.
func (p *Puncher) noHole() error {
	if !p.sameEverywhere() {
		return fmt.Errorf("%w: our own NAT shows another port to each destination", ErrNoHole)
	}
	return fmt.Errorf("%w in %s, though the relay has brought us together: one of the NATs shows another port to each destination, or lets no UDP pass", ErrNoHole, openLimit)
}
