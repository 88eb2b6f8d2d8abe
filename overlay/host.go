package overlay

import (
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/cellnode/cellnode/internal/link"
)

// defaultConnections is how far the connection manager lets connections grow before it closes idle ones, down to half.
// Gossip neighbours and DHT neighbours are protected.
const defaultConnections = 192

// The time that a dial may take, to the open Internet and to a private address. libp2p's own are 15 s and 5 s; a
// look-up in the DHT waits for the slowest of the peers that it asks, and some of those are always dead.
const (
	dialTimeout      = 5 * time.Second
	dialTimeoutLocal = 2 * time.Second
)

// buildHost builds the libp2p host on the UDP sockets that are bound already, and returns the listeners for cell/1
// on the same sockets: QUIC tells the two apart by ALPN. libp2p itself uses UDP alone.
func (n *Node) buildHost(packet listenPacket) ([]quicreuse.Listener, error) {
	var quicAddrs []ma.Multiaddr
	for _, l := range n.sockets.bound {
		if l.udp {
			quicAddrs = append(quicAddrs, l.multiaddr())
		}
	}
	var cm *quicreuse.ConnManager
	opts, err := n.hostOptions(quicAddrs)
	if err != nil {
		return nil, err
	}
	opts = append(opts, libp2p.QUICReuse(func(life fx.Lifecycle) (*quicreuse.ConnManager, error) {
		var err error
		cm, err = n.connManager(packet)
		if err == nil {
			life.Append(fx.StopHook(cm.Close))
		}
		return cm, err
	}))
	if n.host, err = libp2p.New(opts...); err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	var listeners []quicreuse.Listener
	for _, a := range quicAddrs {
		l, err := cm.ListenQUIC(a, n.identity.ServerTLS(), func(*quic.Conn, uint64) bool { return true })
		if err != nil {
			return nil, fmt.Errorf("overlay: cell/1 on %s: %w", a, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func (n *Node) hostOptions(listen []ma.Multiaddr) ([]libp2p.Option, error) {
	limits, err := resources()
	if err != nil {
		return nil, err
	}
	conns, err := connmgr.NewConnManager(n.cfg.Connections/2, n.cfg.Connections)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	opts := []libp2p.Option{
		libp2p.Identity(n.cfg.Key), libp2p.Transport(libp2pquic.NewTransport), libp2p.UserAgent("cellnode/" + Version()),
		libp2p.AddrsFactory(n.withAdvertised), libp2p.WithDialTimeout(dialTimeout), libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(dialTimeoutLocal)),
		libp2p.ResourceManager(limits), libp2p.ConnectionManager(conns), libp2p.ConnectionGater(&gater{trusted: n.trusts}),
		// libp2p stops dialling UDP, or IPv6, after a hundred failures, which liars in the DHT can bring about; we have
		// nothing but UDP.
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.DisableMetrics(), libp2p.ProtocolVersion(link.ALPN),
	}
	if len(listen) == 0 {
		opts = append(opts, libp2p.NoListenAddrs)
	} else {
		opts = append(opts, libp2p.ListenAddrs(listen...))
	}
	if len(listen) == 0 || n.cfg.loopbackOnly() || n.cfg.ListenPacket != nil {
		// A host that only dials has no address to find out and no port to map. On loopback nobody outside can help with
		// that, and there is no NAT to cross. Identify's address discovery stalls virtual time.
		return append(opts, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery()), nil
	}
	if !n.cfg.NoPortMapping {
		opts = append(opts, libp2p.NATPortMap())
	}
	return append(opts, libp2p.EnableAutoNATv2(), libp2p.EnableHolePunching()), nil
}

// connManager makes the manager of the UDP sockets that libp2p and cell/1 share.
func (n *Node) connManager(packet listenPacket) (*quicreuse.ConnManager, error) {
	var reset quic.StatelessResetKey
	var token quic.TokenGeneratorKey
	if _, err := rand.Read(reset[:]); err != nil {
		return nil, err
	}
	if _, err := rand.Read(token[:]); err != nil {
		return nil, err
	}
	opts := []quicreuse.Option{quicreuse.OverrideListenUDP(func(network string, laddr *net.UDPAddr) (net.PacketConn, error) {
		if c := n.sockets.take(laddr); c != nil {
			return c, nil
		}
		return packet(network, laddr)
	})}
	if n.cfg.SourceIP != nil {
		opts = append(opts, quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) {
			return n.cfg.SourceIP, nil
		}))
	}
	return quicreuse.NewConnManager(reset, token, opts...)
}
