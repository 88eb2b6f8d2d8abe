package overlay

import (
	"errors"
	"log/slog"
	"net"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// Config configures a Node. Only Key must be set.
type Config struct {
	// Key is the node's Ed25519 identity; an instance's peer ID is that of its node.
	Key crypto.PrivKey
	// Listen holds what to listen on: /ip4|ip6/ADDR/udp/PORT/quic-v1 for everything, and /ip4|ip6/ADDR/tcp/PORT/tls
	// for the direct path. Addresses of one port are bound together; if one of them is taken, all move to the next
	// free port. Port 0 lets the system choose one for each port's group. Nil means that the node only dials: it
	// cannot serve.
	Listen []ma.Multiaddr
	// Advertise stands before the addresses that the node finds out by itself.
	Advertise []ma.Multiaddr
	// Bootstrap are entry points to the network; none are compiled in.
	Bootstrap []peer.AddrInfo
	// DHT switches: NoDHT leaves the rendezvous out, Amino uses the public IPFS DHT instead of our own.
	NoDHT, Amino bool
	// MDNS finds and is found on the local network.
	MDNS bool
	// NoPortMapping leaves the router alone; else it is asked for a port (UPnP, NAT-PMP).
	NoPortMapping bool
	// Connections is how many libp2p connections there may be before idle ones are closed, down to half of that; zero
	// means 192.
	Connections int
	// Profile is the gossip profile; the zero value means gossip.WAN(), or gossip.LAN() for a node that listens on
	// loopback only.
	Profile gossip.Profile
	// Lean saves memory and look-ups for simulations with hundreds of nodes in a process.
	Lean bool
	// ListenPacket replaces net.ListenUDP, for virtual networks; TCP is left out then, and so is every look at the
	// machine's own interfaces.
	ListenPacket func(network string, laddr *net.UDPAddr) (net.PacketConn, error)
	// DialPacket goes with ListenPacket: it opens the socket that the node's own client dials from.
	DialPacket func(network string) (net.PacketConn, error)
	// SourceIP goes with ListenPacket: which of the virtual network's addresses a dial comes from.
	SourceIP quicreuse.SourceIPSelector
	// KeepTrust gives an authority the newest trust document that was ever seen, and keeps what it takes from then on, until
	// stop. Nil: a document lives as long as the node.
	KeepTrust func(*record.Authority) (stop func())
	// Log may be nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.KeepTrust == nil {
		c.KeepTrust = func(*record.Authority) func() { return func() {} }
	}
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	if c.Profile == (gossip.Profile{}) {
		c.Profile = gossip.WAN()
		if c.loopbackOnly() {
			c.Profile = gossip.LAN()
		}
	}
	return c
}

func (c Config) validate() error {
	if c.Key == nil {
		return errors.New("overlay: a node needs a key")
	}
	for _, a := range c.Listen {
		if _, err := parseListen(a); err != nil {
			return err
		}
	}
	return nil
}

// loopbackOnly reports whether nothing outside this machine can reach the node, as in a testnet.
func (c Config) loopbackOnly() bool {
	for _, a := range c.Listen {
		if l, err := parseListen(a); err != nil || !l.addr.Addr().IsLoopback() {
			return false
		}
	}
	return len(c.Listen) > 0
}
