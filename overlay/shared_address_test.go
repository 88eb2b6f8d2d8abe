package overlay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

// behindOneAddress is how many nodes share one public address, as those of an office or a cluster do. libp2p's own
// limits stop at eight connections for an address, and loopback is exempt from them, so only a virtual network shows
// it.
const behindOneAddress = 30

// virtualNet gives nodes public addresses on a network in this process.
type virtualNet struct {
	mu   sync.Mutex
	net  simnet.Simnet
	port uint16
	off  map[netip.Addr]bool // addresses whose cable is pulled
	half map[netip.Addr]bool // addresses that hear each other only, and not the others
}

func newVirtualNet(t *testing.T, latency time.Duration) *virtualNet {
	t.Helper()
	v := &virtualNet{net: simnet.Simnet{LatencyFunc: simnet.StaticLatency(latency)}, port: 1024, off: map[netip.Addr]bool{}}
	v.net.Start()
	return v
}

func (v *virtualNet) socket(ip netip.Addr, port uint16) net.PacketConn {
	v.mu.Lock()
	defer v.mu.Unlock()
	if port == 0 {
		v.port++
		port = v.port
	}
	link := simnet.LinkSettings{BitsPerSecond: 1_000_000_000}
	return wide{v, ip, v.net.NewEndpoint(widen(ip.AsSlice(), int(port)), simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link})}
}

// pull takes addresses off the network, and plug puts them back.
func (v *virtualNet) pull(ips ...netip.Addr) { v.wire(true, ips) }
func (v *virtualNet) plug(ips ...netip.Addr) { v.wire(false, ips) }

func (v *virtualNet) wire(off bool, ips []netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ip := range ips {
		v.off[ip] = off
	}
}

// split cuts these addresses off from all others; none of them: it joins all.
func (v *virtualNet) split(ips ...netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.half = map[netip.Addr]bool{}
	for _, ip := range ips {
		v.half[ip] = true
	}
}

func (v *virtualNet) lost(from, to netip.Addr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.off[from] || v.off[to] || v.half[from] != v.half[to]
}

// wide writes every destination in 16 bytes: the virtual network takes the two forms of an IPv4 address for two. What is
// sent to or from an address whose cable is pulled is lost.
type wide struct {
	net *virtualNet
	ip  netip.Addr
	*simnet.SimConn
}

func (w wide) WriteTo(p []byte, to net.Addr) (int, error) {
	at := to.(*net.UDPAddr)
	if w.net.lost(w.ip, at.AddrPort().Addr().Unmap()) {
		return len(p), nil
	}
	return w.SimConn.WriteTo(p, widen(at.IP, at.Port))
}

func widen(ip net.IP, port int) *net.UDPAddr { return &net.UDPAddr{IP: ip.To16(), Port: port} }

type fixedIP net.IP

func (ip fixedIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(ip), nil
}

// node starts a node without a DHT at a port of an address.
func (v *virtualNet) node(t *testing.T, ip netip.Addr, port uint16) *Node {
	t.Helper()
	return v.start(t, ip, port, Config{NoDHT: true})
}

func (v *virtualNet) start(t *testing.T, ip netip.Addr, port uint16, cfg Config) *Node {
	t.Helper()
	addr := listen{udp: true, addr: netip.AddrPortFrom(ip, port)}.multiaddr()
	n, err := New(t.Context(), Config{
		Key: newKey(t), Listen: []ma.Multiaddr{addr}, NoDHT: cfg.NoDHT, Bootstrap: cfg.Bootstrap,
		ListenPacket: func(_ string, laddr *net.UDPAddr) (net.PacketConn, error) {
			return v.socket(ip, laddr.AddrPort().Port()), nil
		},
		DialPacket: func(string) (net.PacketConn, error) { return v.socket(ip, 0), nil },
		SourceIP:   fixedIP(ip.AsSlice()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestManyNodesBehindOneAddressAllConnect(t *testing.T) {
	if testing.Short() {
		t.Skip("many handshakes, which take the race detector most of a minute")
	}
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualNet(t, 10*time.Millisecond)
		defer v.net.Close()
		var servers, clients []*Node
		for n := range behindOneAddress {
			servers = append(servers, v.node(t, netip.MustParseAddr("1.2.3.4"), 40000+uint16(n)))
			clients = append(clients, v.node(t, netip.MustParseAddr("5.6.7.8"), 40000+uint16(n)))
		}
		defer closeAll(t, append(servers, clients...))
		var seeds []manifest.Seed
		for _, s := range servers {
			serveEcho(t, s, "echo")
			seeds = append(seeds, manifest.Seed{Peer: s.ID(), Addrs: s.Host().Addrs()})
		}
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				pingAll(t, c, servers)
				findAll(t, c, seeds)
			})
		}
		wg.Wait()
	})
}

// pingAll proves each connection by an exchange on it: a host that refuses a connection does so after the handshake.
func pingAll(t *testing.T, from *Node, to []*Node) {
	for _, s := range to {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := from.Host().Connect(ctx, peer.AddrInfo{ID: s.ID(), Addrs: s.Host().Addrs()})
		if err != nil {
			t.Errorf("connect: %v", err)
		} else if got := <-ping.Ping(ctx, from.Host(), s.ID()); got.Error != nil {
			t.Errorf("ping: %v", got.Error)
		}
		cancel()
	}
}

func findAll(t *testing.T, from *Node, seeds []manifest.Seed) {
	tr, done, err := from.Track(find.Request{Cell: exchange}, seeds, []string{find.Seed})
	if err != nil {
		t.Error(err)
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := tr.Settle(ctx)
	if err != nil || len(s.Instances) != len(seeds) {
		t.Errorf("found %d of %d: %v, %v", len(s.Instances), len(seeds), err, s.Refused)
	}
}

func closeAll(t *testing.T, nodes []*Node) {
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
