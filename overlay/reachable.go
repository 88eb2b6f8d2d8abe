package overlay

import (
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/overlay/punch"
)

// reachable follows which of the host's addresses others have reached from outside (AutoNAT v2, which asks several of
// them to dial back), and what kind of NAT they see it behind.
type reachable struct {
	sub event.Subscription
	wg  sync.WaitGroup

	mu     sync.Mutex
	addrs  []ma.Multiaddr
	failed []ma.Multiaddr        // that others have tried in vain
	nat    network.NATDeviceType // of UDP
}

func followReachable(h host.Host) (*reachable, error) {
	sub, err := h.EventBus().Subscribe([]any{
		new(event.EvtHostReachableAddrsChanged), new(event.EvtNATDeviceTypeChanged),
	}, eventbus.Name("overlay"))
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	r := &reachable{sub: sub}
	r.wg.Go(func() {
		for e := range sub.Out() {
			r.take(e)
		}
	})
	return r, nil
}

func (r *reachable) take(e any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case event.EvtHostReachableAddrsChanged:
		r.addrs, r.failed = e.Reachable, e.Unreachable
	case event.EvtNATDeviceTypeChanged:
		if e.TransportProtocol == network.NATTransportUDP {
			r.nat = e.NatDeviceType
		}
	}
}

// status is what has been learned so far.
func (r *reachable) status() daemon.NATStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := daemon.NATStatus{UDP: daemon.NATUnknown, Confirmed: make([]string, 0, len(r.addrs))}
	switch r.nat {
	case network.NATDeviceTypeEndpointIndependent:
		s.UDP = daemon.NATIndependent
	case network.NATDeviceTypeEndpointDependent:
		s.UDP = daemon.NATDependent
	}
	for _, a := range cellAddrs(r.addrs) {
		s.Confirmed = append(s.Confirmed, a.String())
	}
	return s
}

// covers reports whether every public QUIC address among addrs has been reached from outside, and there is one.
// Others are not tried by anybody: those of a LAN are reached there or nowhere.
func (r *reachable) covers(addrs []ma.Multiaddr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	confirmed := false
	for _, a := range cellAddrs(addrs) {
		if !isPublic(a) {
			continue
		}
		if !slices.ContainsFunc(r.addrs, a.Equal) {
			return false
		}
		confirmed = true
	}
	return confirmed
}

// seen says from where others can dial the node, as far as one can tell: the operator says so, or others have done it, or it
// has a public address of its own that nobody has tried in vain.
func (n *Node) seen() punch.Seen {
	own := n.interfaceAddrs(true)
	n.reachable.mu.Lock()
	defer n.reachable.mu.Unlock()
	var v4, v6, has4 bool
	reached := slices.Concat(n.live.get().Advertise, n.reachable.addrs)
	for _, a := range own {
		has4 = has4 || a[0].Protocol().Code == ma.P_IP4 && !manet.IsIPLoopback(a)
		if !slices.ContainsFunc(n.reachable.failed, a.Equal) {
			reached = append(reached, a)
		}
	}
	for _, a := range reached {
		if len(a) == 3 && isPublic(a) {
			ip6 := a[0].Protocol().Code == ma.P_IP6 || a[0].Protocol().Code == ma.P_DNS6
			v6, v4 = v6 || ip6, v4 || !ip6
		}
	}
	return punch.Seen{Public: v4 || v6, Hidden: has4 && !v4 || !has4 && !v6}
}

func (r *reachable) close() error {
	err := r.sub.Close()
	r.wg.Wait()
	return err
}
