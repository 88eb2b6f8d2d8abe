package dht

import (
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
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const oneWay = 25 * time.Millisecond // between any two hosts of a world

// world is a network of real hosts over simulated links, in virtual time. Hosts join and die at any moment.
type world struct {
	*testing.T
	net   *simnet.Simnet
	hosts int
	links map[peer.ID]*link
	end   []func()
}

// inWorld runs f in a new world, in a bubble of virtual time, of which t belongs to the bubble.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, links: map[peer.ID]*link{}, net: &simnet.Simnet{
			LatencyFunc: simnet.StaticLatency(oneWay), Logger: slog.New(slog.DiscardHandler),
		}}
		w.net.Start()
		defer w.net.Close()
		defer func() {
			for i := len(w.end) - 1; i >= 0; i-- {
				w.end[i]()
			}
		}()
		f(t, w)
	})
}

// link is a host's cable; pulling it is how a host crashes.
type link struct {
	*simnet.SimConn
	pulled atomic.Bool
}

func (l *link) WriteTo(b []byte, to net.Addr) (int, error) {
	if l.pulled.Load() {
		return len(b), nil
	}
	return l.SimConn.WriteTo(b, to)
}

func (l *link) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.SimConn.ReadFrom(b)
		if err != nil || !l.pulled.Load() {
			return n, from, err
		}
	}
}

type fixedSource struct{ ip net.IP }

func (s fixedSource) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return s.ip, nil }

// key returns a private key; ground ones are used by Sybils.
func newKey(t testing.TB) crypto.PrivKey {
	priv, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	return priv
}

// host returns a new host at an address of its own in the public range.
func (w *world) host(priv crypto.PrivKey, more ...libp2p.Option) host.Host {
	w.Helper()
	w.hosts++
	return w.hostAt(fmt.Sprintf("5.%d.0.1", w.hosts), priv, more...) // a /16 each
}

func (w *world) hostAt(addr string, priv crypto.PrivKey, more ...libp2p.Option) host.Host {
	w.Helper()
	ip := net.ParseIP(addr).To4()
	var cable *link
	bandwidth := simnet.LinkSettings{BitsPerSecond: 100 * simnet.Mibps}
	quicOpts := []quicreuse.Option{
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return fixedSource{ip}, nil }),
		quicreuse.OverrideListenUDP(func(_ string, a *net.UDPAddr) (net.PacketConn, error) {
			cable = &link{SimConn: w.net.NewEndpoint(a, simnet.NodeBiDiLinkSettings{Downlink: bandwidth, Uplink: bandwidth})}
			return cable, nil
		}),
	}
	h, err := libp2p.New(append(more,
		libp2p.Identity(priv),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", ip)),
		libp2p.QUICReuse(newConnManager, quicOpts...),
		libp2p.DisableIdentifyAddressDiscovery(), // stalls virtual time
		libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)...)
	if err != nil {
		w.Fatal(err)
	}
	w.links[h.ID()] = cable
	w.end = append(w.end, func() { h.Close() })
	return h
}

// hostWith returns a new host whose addresses f decides.
func (w *world) hostWith(f func([]ma.Multiaddr) []ma.Multiaddr) host.Host {
	return w.host(newKey(w), libp2p.AddrsFactory(f))
}

func newConnManager(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, o ...quicreuse.Option) (*quicreuse.ConnManager, error) {
	cm, err := quicreuse.NewConnManager(reset, token, o...)
	if err == nil {
		l.Append(fx.StopHook(cm.Close))
	}
	return cm, err
}

// node starts a DHT node on a new host.
func (w *world) node(c Config) *DHT {
	w.Helper()
	if c.Host == nil {
		c.Host = w.host(newKey(w))
	}
	d, err := New(w.Context(), c)
	if err != nil {
		w.Fatal(err)
	}
	w.end = append(w.end, func() {
		if err := d.Close(); err != nil {
			w.Error(err)
		}
	})
	return d
}

// nodes starts n servers; each has the first as its entry point.
func (w *world) nodes(n int, c Config) []*DHT {
	w.Helper()
	c.Server = true
	out := []*DHT{w.node(c)}
	c.Bootstrap = entry(out[0])
	for len(out) < n {
		out = append(out, w.node(c))
		time.Sleep(10 * time.Millisecond)
	}
	w.until("all tables to have peers", time.Minute, func() bool {
		for _, d := range out {
			if d.Size() == 0 {
				return false
			}
		}
		return true
	})
	return out
}

// crash cuts d off without a word.
func (w *world) crash(d *DHT) { w.links[d.host.ID()].pulled.Store(true) }

// until waits, in virtual time, for a condition.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.Helper()
	for start := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > limit {
			w.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// find returns what a whole search of d reports.
func (w *world) find(d *DHT, key cid.Cid) map[peer.ID]peer.AddrInfo {
	w.Helper()
	out := map[peer.ID]peer.AddrInfo{}
	err := d.Find(w.Context(), key, func(i peer.AddrInfo) {
		if _, twice := out[i.ID]; twice {
			w.Errorf("%s reported twice", i.ID)
		}
		out[i.ID] = i
	})
	if err != nil {
		w.Errorf("find: %v", err)
	}
	return out
}

func (w *world) announce(d *DHT, key cid.Cid, seeds ...peer.ID) Announced {
	w.Helper()
	a, err := d.Announce(w.Context(), key, seeds)
	if err != nil {
		w.Fatalf("announce: %v", err)
	}
	return a
}

func entry(ds ...*DHT) func() []peer.AddrInfo {
	var out []peer.AddrInfo
	for _, d := range ds {
		out = append(out, peer.AddrInfo{ID: d.host.ID(), Addrs: d.host.Addrs()})
	}
	return func() []peer.AddrInfo { return out }
}

func testKey(name string) cid.Cid {
	h, err := multihash.Sum([]byte(name), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, h)
}
