package gossip

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/cellnode/cellnode/internal/record"
)

var (
	testCell  = cid.MustParse("bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm")
	otherCell = cid.MustParse("bafkreicue6oiwv3kbcsubeelelsiyiaf2ttycfvlovukqvw3ulwc3dbvn4")
)

// lab is a network in virtual time on which real hosts run.
type lab struct {
	t     *testing.T
	net   *simnet.Simnet
	count int
}

// inLab runs a test in virtual time. Whatever the nodes of the lab started must have ended when f returns.
func inLab(t *testing.T, f func(*testing.T, *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: &simnet.Simnet{
			LatencyFunc: simnet.StaticLatency(500 * time.Microsecond), Logger: slog.New(slog.DiscardHandler),
		}}
		l.net.Start()
		defer l.net.Close()
		f(t, l)
	})
}

// node is one process: a host and what gossips on it.
type node struct {
	*Gossip
	l    *lab
	host host.Host
	key  crypto.PrivKey
	addr string
	dark atomic.Bool // its packets are lost
}

// darkConn loses packets both ways while its node is dark: a machine without power.
type darkConn struct {
	net.PacketConn
	dark *atomic.Bool
}

func (c *darkConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.dark.Load() {
		return len(p), nil
	}
	return c.PacketConn.WriteTo(p, to)
}

func (c *darkConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if err != nil || !c.dark.Load() {
			return n, from, err
		}
	}
}

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// node starts a host on an address of its own, without gossip.
func (l *lab) node() *node {
	l.t.Helper()
	l.count++
	n := &node{l: l, key: newKey(l.t), addr: fmt.Sprintf("/ip4/1.0.0.%d/udp/40000/quic-v1", l.count)}
	n.listen()
	return n
}

func (n *node) listen() {
	n.l.t.Helper()
	h, err := libp2p.New(
		libp2p.Identity(n.key), libp2p.ListenAddrStrings(n.addr), n.onSimnet(),
		libp2p.DisableIdentifyAddressDiscovery(), libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		n.l.t.Fatal(err)
	}
	n.host = h
}

// onSimnet is simlibp2p.QUICSimnet with a switch for the node's packets.
func (n *node) onSimnet() libp2p.Option {
	const mbps = 1_000_000
	link := simnet.NodeBiDiLinkSettings{
		Downlink: simnet.LinkSettings{BitsPerSecond: 100 * mbps}, Uplink: simnet.LinkSettings{BitsPerSecond: 100 * mbps},
	}
	source := new(sourceIP)
	return libp2p.QUICReuse(
		func(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			cm, err := quicreuse.NewConnManager(reset, token, opts...)
			if err == nil {
				l.Append(fx.StopHook(cm.Close))
			}
			return cm, err
		},
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return source, nil }),
		quicreuse.OverrideListenUDP(func(_ string, addr *net.UDPAddr) (net.PacketConn, error) {
			source.ip = addr.IP
			return &darkConn{n.l.net.NewEndpoint(addr, link), &n.dark}, nil
		}))
}

type sourceIP struct{ ip net.IP }

func (s *sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return s.ip, nil }

// record signs a first record of this life.
func (n *node) record(cell cid.Cid) *record.Signed {
	n.l.t.Helper()
	return signRecord(n.l.t, n.key, n.host, cell)
}

func signRecord(t testing.TB, key crypto.PrivKey, h host.Host, cell cid.Cid) *record.Signed {
	t.Helper()
	now := time.Now()
	rec, err := record.Sign(key, record.Instance{
		Cell: cell, Incarnation: uint64(now.UnixMilli()), Seq: 1, State: record.Serving,
		Addrs: h.Addrs(), Issued: now, Expires: now.Add(record.Validity),
	})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func (n *node) config() Config {
	return Config{Host: n.host, Key: n.key, Cell: testCell, Record: n.record(testCell), Profile: LAN()}
}

// gossip starts gossiping and joins others.
func (n *node) gossip(others ...*node) {
	n.l.t.Helper()
	g, err := New(context.Background(), n.config())
	if err != nil {
		n.l.t.Fatal(err)
	}
	n.Gossip = g
	n.join(others...)
}

func (n *node) join(others ...*node) {
	var infos []peer.AddrInfo
	for _, o := range others {
		infos = append(infos, o.info())
	}
	n.Join(infos)
}

func (n *node) info() peer.AddrInfo { return peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()} }

// stop ends a node as a clean exit without a goodbye does.
func (n *node) stop() {
	if n.Gossip != nil {
		n.Gossip.Close()
	}
	n.host.Close()
}

// kill ends a node as kill -9 or a power cut does: not one packet comes any more.
func (n *node) kill() {
	n.dark.Store(true)
	n.stop()
}

// cell starts some nodes that gossip and waits until all know all.
func (l *lab) cell(size int) []*node {
	l.t.Helper()
	var nodes []*node
	for i := range size {
		n := l.node()
		nodes = append(nodes, n)
		n.gossip(nodes[:min(i, 1)]...)
	}
	await(l.t, 5*time.Second, "all know all", func() bool { return agree(nodes) })
	return nodes
}

func stopAll(nodes []*node) {
	for _, n := range nodes {
		n.stop()
	}
}

// agree reports whether every node lists these nodes and nobody else.
func agree(nodes []*node) bool {
	for _, n := range nodes {
		members := n.Members()
		if len(members) != len(nodes) {
			return false
		}
		for _, o := range nodes {
			if !lists(members, o.host.ID()) {
				return false
			}
		}
	}
	return true
}

func lists(members []Member, id peer.ID) bool {
	for _, m := range members {
		if m.Record.Peer == id {
			return true
		}
	}
	return false
}

// await polls a condition, in virtual time where the test runs in a lab, and returns how long it took.
func await(t testing.TB, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			t.Fatalf("%s: not within %s", what, within)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}
