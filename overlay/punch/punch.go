// Package punch opens direct paths between libp2p nodes that are both behind NATs, and carries streams of cell/1 on them.
//
// A node that others cannot reach keeps a reservation with one or two public nodes of the network, as circuit relay v2
// has it (libp2p specs, relay/circuit-v2.md), and names them in its records. Who wants a path to it connects through such a
// relay; the two tell each other their public addresses over that connection and dial each other at once, so that each
// opens its own NAT for the other (DCUtR, libp2p specs, relay/DCUtR.md). Then the relay's part is over: the connection
// through it is closed, and neither end takes a stream of cell/1 on one. Public nodes relay for everybody, but so little
// that it is of no use for anything else.
package punch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link"
)

// Config configures a Puncher. Host is required.
type Config struct {
	// Host listens on UDP, if only to be punched through to, and has the relay transport.
	Host host.Host
	// Seen says from where others can dial the host; it is called often. Nil: the host only dials, and takes no streams.
	Seen func() Seen
	// Changed is called, by a goroutine of the Puncher, when Circuits has changed. Nil: nobody is told.
	Changed func()
	// Log may be nil.
	Log *slog.Logger
}

// Seen is from where others can dial a host.
type Seen struct {
	Public bool // from the open Internet, by IPv4 or IPv6: the host relays for those who cannot be dialled
	Hidden bool // not by all: the host keeps reservations with relays
}

// A Puncher is a host's part in all this. Its methods may be called by any number of goroutines.
type Puncher struct {
	cfg    Config
	host   host.Host
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	sub    event.Subscription
	notify *network.NotifyBundle
	conns  chan net.Conn // accepted
	look   chan struct{} // asks for a round of keep now
	ready  chan struct{} // closed by begun: the host can take part in a hole punch
	begun  func()

	mu       sync.Mutex
	closed   bool
	observed []observation
	service  *holepunch.Service // nil until an address of ours is known
	relay    *relay.Relay       // nil while we do not relay
	relays   map[peer.ID]reservation
	failed   map[peer.ID]time.Time // relays that refused
	attempts map[meeting]*attempt
	awaited  map[peer.ID]*awaited
}

// New returns a running Puncher.
func New(cfg Config) (*Puncher, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	p := &Puncher{
		cfg: cfg, host: cfg.Host, log: cfg.Log, conns: make(chan net.Conn), look: make(chan struct{}, 1), ready: make(chan struct{}),
		relays: map[peer.ID]reservation{}, failed: map[peer.ID]time.Time{},
		attempts: map[meeting]*attempt{}, awaited: map[peer.ID]*awaited{},
	}
	p.begun = sync.OnceFunc(func() { close(p.ready) })
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var err error
	p.sub, err = p.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtLocalProtocolsUpdated),
	}, eventbus.Name("punch"))
	if err != nil {
		return nil, fmt.Errorf("punch: %w", err)
	}
	p.notify = &network.NotifyBundle{ConnectedF: p.connected, DisconnectedF: p.disconnected}
	p.host.Network().Notify(p.notify)
	if cfg.Seen != nil {
		p.host.SetStreamHandler(link.Protocol, p.accept)
		p.keep()
		p.wg.Go(p.keepReservations)
	}
	p.wg.Go(func() {
		for e := range p.sub.Out() {
			p.hear(e)
		}
	})
	return p, nil
}

// Close ends it, and with it what it relays; streams stay. It returns when its goroutines have ended and may be called more
// than once.
func (p *Puncher) Close() error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	service, relay := p.service, p.relay
	p.mu.Unlock()
	if again {
		p.wg.Wait()
		return nil
	}
	p.cancel()
	p.host.RemoveStreamHandler(link.Protocol)
	p.host.Network().StopNotify(p.notify)
	errs := []error{p.sub.Close()}
	if service != nil {
		errs = append(errs, service.Close())
	}
	if relay != nil {
		errs = append(errs, relay.Close())
	}
	p.wg.Wait()
	return errors.Join(errs...)
}

// hear takes an event of the host.
func (p *Puncher) hear(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		if !e.Conn.Stat().Limited && p.observe(e.Peer, e.ObservedAddr) {
			p.startService()
		}
		p.lookAgain() // it may be a relay
	case event.EvtLocalProtocolsUpdated:
		if slices.Contains(e.Added, holepunch.Protocol) {
			p.begun()
			p.lookAgain()
		}
	}
}

// startService begins to take part in hole punches. libp2p would look for an own address by itself, but only now and then.
func (p *Puncher) startService() {
	p.mu.Lock()
	defer p.mu.Unlock()
	identified, ok := p.host.(interface{ IDService() identify.IDService })
	if p.service != nil || p.closed || !ok {
		return
	}
	var err error
	p.service, err = holepunch.NewService(p.host, identified.IDService(), p.addrs, holepunch.DirectDialTimeout(dialTimeout),
		holepunch.WithAddrFilter(filter{}))
	if err != nil {
		p.log.Error("no hole punching", "err", err)
	}
}

// lookAgain asks for a round of keep now.
func (p *Puncher) lookAgain() {
	select {
	case p.look <- struct{}{}:
	default:
	}
}

// connected notes a connection that a hole punch, or anything else, has brought about.
func (p *Puncher) connected(_ network.Network, c network.Conn) {
	if c.Stat().Limited {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.awaited[c.RemotePeer()]; w != nil {
		w.stands()
	}
}

// disconnected gives up the reservation with a relay that has gone, and looks for another.
func (p *Puncher) disconnected(n network.Network, c network.Conn) {
	id := c.RemotePeer()
	if n.Connectedness(id) == network.Connected {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ours := p.relays[id]; ours {
		p.dropLocked(id)
		p.lookAgain()
	}
}

// isCircuit reports whether an address leads through a relay.
func isCircuit(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
