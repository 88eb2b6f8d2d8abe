package punch

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// wanted is how many relays a node keeps a reservation with: one may go.
	wanted = 2
	// round is how often the reservations are looked at when nothing happens, and from where we can be dialled.
	round = 10 * time.Second
	// reserveTimeout bounds one request.
	reserveTimeout = 5 * time.Second
	// refusedFor is how long a relay that has refused is left alone.
	refusedFor = time.Minute
	// protection is the tag under which the connection manager keeps the connection to a relay.
	protection = "cell-relay"
)

// limits are what a public node gives to those behind NATs: enough for two handshakes and the words of DCUtR, about 20 KiB,
// and of no use for calls.
func limits() relay.Resources {
	r := relay.DefaultResources()
	r.Limit = &relay.RelayLimit{Duration: 30 * time.Second, Data: 64 << 10}
	r.MaxReservations, r.MaxReservationsPerIP = 1024, 64 // behind one address may be a whole company
	r.MaxCircuits = 64
	return r
}

// reservation is a place at a relay.
type reservation struct {
	addr  ma.Multiaddr // where the relay is, and that it is one
	renew time.Time
}

// Circuits are the addresses of the relays where a path to this node can be asked for; none while everybody can dial it.
func (p *Puncher) Circuits() []ma.Multiaddr {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]ma.Multiaddr, 0, len(p.relays))
	for _, r := range p.relays {
		list = append(list, r.addr)
	}
	slices.SortFunc(list, func(a, b ma.Multiaddr) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// keepReservations does what keep does whenever that may be of use, until Close.
func (p *Puncher) keepReservations() {
	tick := time.NewTicker(round)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		case <-p.look:
		}
		before := p.Circuits()
		p.keep()
		if !slices.EqualFunc(before, p.Circuits(), ma.Multiaddr.Equal) {
			p.cfg.Changed()
		}
	}
}

// keep relays for others, or sees to it that others relay for us.
func (p *Puncher) keep() {
	seen := p.cfg.Seen()
	p.offer(seen.Public)
	if !seen.Hidden {
		p.mu.Lock()
		defer p.mu.Unlock()
		for id := range p.relays {
			p.dropLocked(id)
		}
		return
	}
	select {
	case <-p.ready: // else nobody could be let in
	default:
		return
	}
	now := time.Now()
	for _, c := range p.candidates(now) {
		p.reserve(c)
	}
}

// offer begins or ends the relaying.
func (p *Puncher) offer(public bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || public == (p.relay != nil):
	case !public:
		if err := p.relay.Close(); err != nil {
			p.log.Warn("relay", "err", err)
		}
		p.relay = nil
	default:
		var err error
		if p.relay, err = relay.New(p.host, relay.WithResources(limits())); err != nil {
			p.log.Error("no relaying", "err", err)
		}
	}
}

// candidates are connections to relays whom to ask now: those whose reservation is to be renewed, and as many others as are
// missing, by chance, so that the load is shared.
func (p *Puncher) candidates(now time.Time) []network.Conn {
	conns := p.host.Network().Conns()
	rand.Shuffle(len(conns), func(a, b int) { conns[a], conns[b] = conns[b], conns[a] })
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.failed, func(_ peer.ID, at time.Time) bool { return now.Sub(at) > refusedFor })
	missing := wanted - len(p.relays)
	var list []network.Conn
	seen := map[peer.ID]bool{}
	for _, c := range conns {
		id := c.RemotePeer()
		if seen[id] || !p.relaysFor(c) {
			continue
		}
		r, ours := p.relays[id]
		_, refused := p.failed[id]
		switch {
		case ours && now.After(r.renew):
		case ours || refused || missing <= 0:
			continue
		default:
			missing--
		}
		seen[id] = true
		list = append(list, c)
	}
	return list
}

// relaysFor reports whether the far end of a connection relays, at an address that others can reach: we have dialled it.
func (p *Puncher) relaysFor(c network.Conn) bool {
	if c.Stat().Limited || c.Stat().Direction != network.DirOutbound || !punchable(c.RemoteMultiaddr()) {
		return false
	}
	known, err := p.host.Peerstore().SupportsProtocols(c.RemotePeer(), proto.ProtoIDv2Hop)
	return err == nil && len(known) > 0
}

func (p *Puncher) reserve(c network.Conn) {
	id := c.RemotePeer()
	ctx, cancel := context.WithTimeout(network.WithNoDial(p.ctx, protection), reserveTimeout)
	defer cancel()
	got, err := client.Reserve(ctx, p.host, peer.AddrInfo{ID: id})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.log.Debug("no reservation", "peer", id, "err", err)
		p.dropLocked(id)
		p.failed[id] = time.Now()
		return
	}
	now := time.Now()
	p.relays[id] = reservation{
		addr:  c.RemoteMultiaddr().Encapsulate(ma.StringCast("/p2p/" + id.String() + "/p2p-circuit")),
		renew: now.Add(got.Expiration.Sub(now) / 2),
	}
	p.host.ConnManager().Protect(id, protection)
	p.log.Info("a relay introduces us", "peer", id, "addr", c.RemoteMultiaddr())
}

// dropLocked gives up a reservation; the lock is held.
func (p *Puncher) dropLocked(id peer.ID) {
	delete(p.relays, id)
	p.host.ConnManager().Unprotect(id, protection)
}
