package overlay

import (
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/cellnode/cellnode/internal/record"
)

// advertised returns the addresses under which an instance of this node is dialled: what the operator wrote first,
// then the public before the private, and loopback only where there is nothing else; and behind them relays. At most as
// many as a record takes.
func (n *Node) advertised() []ma.Multiaddr {
	candidates := slices.Clone(n.live.get().Advertise)
	found := n.dialable()
	slices.SortStableFunc(found, func(a, b ma.Multiaddr) int { return rank(a) - rank(b) })
	candidates = append(candidates, found...)
	var list []ma.Multiaddr
	for _, a := range candidates {
		if len(list) == record.MaxAddrs {
			break
		}
		if len(list) > 0 && rank(a) == rankLoopback && rank(list[0]) != rankLoopback {
			continue
		}
		if !slices.ContainsFunc(list, a.Equal) {
			list = append(list, a)
		}
	}
	return append(list, n.circuits()...)
}

// circuits returns where others can ask for a direct path to this node: nowhere if they can simply dial it.
func (n *Node) circuits() []ma.Multiaddr {
	if p := n.punch.Load(); p != nil {
		return p.Circuits()
	}
	return nil
}

const (
	rankPublic = iota
	rankPrivate
	rankLoopback
)

func rank(a ma.Multiaddr) int {
	switch {
	case manet.IsIPLoopback(a):
		return rankLoopback
	case isPublic(a):
		return rankPublic
	}
	return rankPrivate
}

func isPublic(a ma.Multiaddr) bool { return manet.IsPublicAddr(a) }

// dialable returns each address of the node's interfaces, and those that others have seen it at, as QUIC and as
// TLS, so far as it listens there. The interfaces are read here: libp2p remembers what they had for up to a minute, in
// which an instance that has moved would not be found.
func (n *Node) dialable() []ma.Multiaddr {
	var list []ma.Multiaddr
	if n.listensUDP() {
		list = append(n.interfaceAddrs(true), cellAddrs(n.host.Addrs())...)
	}
	return append(list, n.interfaceAddrs(false)...)
}

// interfaceAddrs returns where the node listens by UDP, or else by TCP, on the interfaces as they are now.
func (n *Node) interfaceAddrs(udp bool) []ma.Multiaddr {
	format := "%s/tcp/%d/tls"
	if udp {
		format = "%s/udp/%d/quic-v1"
	}
	var list []ma.Multiaddr
	for _, l := range n.sockets.bound {
		if l.udp != udp {
			continue
		}
		for _, ip := range n.interfaceIPs(l) {
			if a, err := ma.NewMultiaddr(fmt.Sprintf(format, ip, l.addr.Port())); err == nil {
				list = append(list, a)
			}
		}
	}
	return list
}

// interfaceIPs returns the /ip4 and /ip6 addresses that a listener is reachable at on this machine.
func (n *Node) interfaceIPs(l listen) []ma.Multiaddr {
	own, err := manet.FromIP(l.addr.Addr().AsSlice())
	if err != nil {
		return nil
	}
	if !l.addr.Addr().IsUnspecified() {
		return []ma.Multiaddr{own}
	}
	all, err := manet.InterfaceMultiaddrs()
	if err != nil {
		n.log.Warn("interfaces cannot be read", "err", err)
		return nil
	}
	return slices.DeleteFunc(all, func(a ma.Multiaddr) bool {
		return a[0].Protocol().Code != own[0].Protocol().Code || manet.IsIP6LinkLocal(a)
	})
}

// cellAddrs returns those addresses of a libp2p peer that cell/1 can be dialled at.
func cellAddrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, a := range addrs {
		if len(a) == 3 && a[2].Protocol().Code == ma.P_QUIC_V1 && !manet.IsIP6LinkLocal(a) {
			list = append(list, a)
		}
	}
	return list
}

// reachedAt returns those addresses of a libp2p peer that cell/1 can be dialled at, and its relays.
func reachedAt(addrs []ma.Multiaddr) []ma.Multiaddr {
	_, circuits := record.SplitCircuits(addrs)
	return append(cellAddrs(addrs), circuits...)
}

// quicInfo returns a peer with those of its addresses that libp2p can dial.
func quicInfo(id peer.ID, addrs []ma.Multiaddr) peer.AddrInfo {
	return peer.AddrInfo{ID: id, Addrs: cellAddrs(addrs)}
}
