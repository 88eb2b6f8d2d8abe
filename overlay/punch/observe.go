package punch

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// What is kept of what others say of our addresses, and told to whom we punch a hole with: a list that anybody can send
// must not make us send packets to many.
const (
	maxObservers = 32
	maxAddrs     = 4
)

// observation is the address that one node sees us at.
type observation struct {
	by   peer.ID
	addr ma.Multiaddr
}

// observe notes at which address another node sees us, and reports whether that is a public one.
func (p *Puncher) observe(by peer.ID, addr ma.Multiaddr) bool {
	if !punchable(addr) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observed = slices.DeleteFunc(p.observed, func(o observation) bool { return o.by == by })
	if len(p.observed) == maxObservers {
		p.observed = slices.Delete(p.observed, 0, 1)
	}
	p.observed = append(p.observed, observation{by, addr})
	return true
}

// addrs are our own public addresses: those that others see, the newest first, and those that the host knows of.
func (p *Puncher) addrs() []ma.Multiaddr {
	p.mu.Lock()
	var all []ma.Multiaddr
	for _, o := range slices.Backward(p.observed) {
		all = append(all, o.addr)
	}
	p.mu.Unlock()
	return few(append(all, p.host.Addrs()...))
}

// sameEverywhere reports whether all who see us see us at one address of each IP version. A NAT that shows another port to
// each destination cannot be punched through.
func (p *Puncher) sameEverywhere() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[int]ma.Multiaddr{}
	for _, o := range p.observed {
		ip := o.addr[0].Protocol().Code
		if first, ok := seen[ip]; ok && !first.Equal(o.addr) {
			return false
		}
		seen[ip] = o.addr
	}
	return true
}

// few returns the first maxAddrs different ones that a hole can be punched to.
func few(addrs []ma.Multiaddr) []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, a := range addrs {
		if len(list) < maxAddrs && punchable(a) && !slices.ContainsFunc(list, a.Equal) {
			list = append(list, a)
		}
	}
	return list
}

// punchable reports whether an address is a public one by QUIC.
func punchable(a ma.Multiaddr) bool {
	return len(a) == 3 && a[2].Protocol().Code == ma.P_QUIC_V1 && manet.IsPublicAddr(a)
}

// filter bounds the addresses that a hole punch is about. It implements holepunch.AddrFilter.
type filter struct{}

// FilterLocal returns what the far end is told of us.
func (filter) FilterLocal(_ peer.ID, addrs []ma.Multiaddr) []ma.Multiaddr { return few(addrs) }

// FilterRemote returns which of the far end's are dialled.
func (filter) FilterRemote(_ peer.ID, addrs []ma.Multiaddr) []ma.Multiaddr { return few(addrs) }
