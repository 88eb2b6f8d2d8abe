package overlay

import (
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link"
)

// gater keeps libp2p from dialling what others name and nobody should: anyone can put anyone's address, a router's or a
// cloud's metadata service among them, into the DHT. The rule is that of cell/1, see link.Dialable. It implements
// connmgr.ConnectionGater.
type gater struct {
	trusted func(peer.ID) bool // its addresses stand in our own files or came from our LAN

	mu    sync.Mutex
	local []netip.Prefix
	read  time.Time
}

// prefixesKept is how long the prefixes of our interfaces are taken for true.
const prefixesKept = 5 * time.Second

func (g *gater) prefixes() []netip.Prefix {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); g.read.IsZero() || now.Sub(g.read) > prefixesKept {
		g.local, g.read = link.LocalPrefixes(), now
	}
	return g.local
}

// InterceptAddrDial judges one address. Through a relay only the relay itself is dialled.
func (g *gater) InterceptAddrDial(id peer.ID, a ma.Multiaddr) bool {
	if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err == nil {
		a, _ = ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
	}
	return link.Dialable(a, g.prefixes(), g.trusted(id)) == nil
}

// InterceptPeerDial lets every peer be dialled, at the right addresses.
func (g *gater) InterceptPeerDial(peer.ID) bool { return true }

// InterceptAccept leaves the bounds on what comes in to the resource manager.
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured lets every peer in: who may serve a cell is decided by its records.
func (g *gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}

// InterceptUpgraded keeps every connection.
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// trusts reports whether a peer's addresses stand in our own files or came from our LAN.
func (n *Node) trusts(id peer.ID) bool {
	for _, p := range n.entryPoints() {
		if p.ID == id {
			return true
		}
	}
	return false
}
