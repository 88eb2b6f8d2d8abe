package overlay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/overlay/punch"
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
	switch {
	case len(listen) > 0:
		opts = append(opts, libp2p.ListenAddrs(listen...))
	case n.punches():
		opts = append(opts, libp2p.ListenAddrStrings("/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"))
	default:
		opts = append(opts, libp2p.NoListenAddrs)
	}
	if !n.punches() {
		// Identify's address discovery stalls virtual time.
		return append(opts, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery()), nil
	}
	if len(listen) == 0 { // what is listened on is for who is asked to punch a hole, and nobody else's affair
		return append(opts, libp2p.DisableIdentifyAddressDiscovery()), nil
	}
	if !n.cfg.NoPortMapping {
		opts = append(opts, libp2p.NATPortMap())
	}
	return append(opts, libp2p.EnableAutoNATv2()), nil
}

// punches reports whether there may be NATs to cross between this node and others. On loopback and in virtual networks
// there are none.
func (n *Node) punches() bool {
	if len(n.cfg.Listen) > 0 || n.cfg.ListenPacket != nil {
		return n.cfg.ListenPacket == nil && !n.cfg.loopbackOnly()
	}
	return slices.ContainsFunc(n.cfg.Bootstrap, func(p peer.AddrInfo) bool {
		return slices.ContainsFunc(p.Addrs, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
	})
}

// startPunching lets paths be opened through NATs: ours to others, and those of others to us.
func (n *Node) startPunching() error {
	if !n.punches() {
		return nil
	}
	cfg := punch.Config{Host: n.host, Log: n.log}
	if n.listensUDP() {
		cfg.Seen, cfg.Changed = n.seen, n.readdress
	}
	p, err := punch.New(cfg)
	if err != nil {
		return err
	}
	n.punch.Store(p)
	if n.listensUDP() {
		n.server.ServeNode(p.Listener())
	}
	return nil
}

// readdress has the instances make new records at once: their addresses have changed.
func (n *Node) readdress() {
	for _, i := range n.instances() {
		select {
		case i.readdressed <- struct{}{}:
		default:
		}
	}
}

// Stream opens a stream of cell/1 to a peer that cannot be dialled, on a direct connection that it is asked for at a relay.
// See link.DialerConfig.DialNode.
func (n *Node) Stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	p := n.punch.Load()
	if p == nil {
		return nil, errNoPunching
	}
	return p.Dial(ctx, id, circuit)
}

// errNoPunching says why a node does not try.
var errNoPunching = errors.New("overlay: the node knows nobody beyond this machine who could introduce it: name an entry point as bootstrap")

// connManager makes the manager of the UDP sockets that libp2p and cell/1 share.
func (n *Node) connManager(packet listenPacket) (*quicreuse.ConnManager, error) {
	reset, err := n.resetKey()
	if err != nil {
		return nil, err
	}
	var token quic.TokenGeneratorKey
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

// resetKey is the same at each start of a node: so it can tell those who still talk to the one before, killed and started
// again at the same port, that their connections are gone (RFC 9000 section 10.3). They would wait for 15 to 45 s.
func (n *Node) resetKey() (quic.StatelessResetKey, error) {
	raw, err := n.cfg.Key.Raw()
	if err != nil {
		return quic.StatelessResetKey{}, fmt.Errorf("overlay: %w", err)
	}
	return sha256.Sum256(append([]byte("cell/quic-reset/v1\x00"), raw...)), nil
}
