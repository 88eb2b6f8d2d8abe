package simulations

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

var full = flag.Bool("full", false, "run the simulations at full size")

// site is a virtual network of real nodes, 50 ms apart. QUIC only: sockets of the kernel do not know virtual time.
type site struct {
	net  simnet.Simnet
	mu   sync.Mutex
	port int // the last that was given out
}

// cable is a socket whose machine can lose its power.
type cable struct {
	*simnet.SimConn
	dark *atomic.Bool
}

// WriteTo writes every destination in 16 bytes: the virtual network takes the two forms of an IPv4 address for two.
func (c cable) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.dark.Load() {
		return len(p), nil
	}
	at := to.(*net.UDPAddr)
	return c.SimConn.WriteTo(p, &net.UDPAddr{IP: at.IP.To16(), Port: at.Port})
}

type sourceIP net.IP

func (ip sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(ip), nil
}

func (s *site) socket(ip net.IP, port int, dark *atomic.Bool) net.PacketConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if port == 0 {
		s.port++
		port = s.port
	}
	rate := simnet.LinkSettings{BitsPerSecond: 100_000_000}
	at := &net.UDPAddr{IP: ip.To16(), Port: port}
	return cable{s.net.NewEndpoint(at, simnet.NodeBiDiLinkSettings{Downlink: rate, Uplink: rate}), dark}
}

// real is a node with one instance of the cell.
type real struct {
	*overlay.Node
	*overlay.Instance
	dark *atomic.Bool
}

func (r real) Close() error { return r.Node.Close() }

func (s *site) start(t *testing.T, index int, entry []peer.AddrInfo) real {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ip, dark := net.IPv4(1, byte(1+index/250), byte(1+index%250), 4).To4(), new(atomic.Bool)
	node, err := overlay.New(t.Context(), overlay.Config{
		Key: key, Bootstrap: entry, Lean: true,
		Listen:       []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/udp/40000/quic-v1", ip))},
		ListenPacket: func(_ string, at *net.UDPAddr) (net.PacketConn, error) { return s.socket(ip, at.Port, dark), nil },
		DialPacket:   func(string) (net.PacketConn, error) { return s.socket(ip, 0, dark), nil },
		SourceIP:     sourceIP(ip),
	})
	if err != nil {
		t.Fatal(err)
	}
	cell := manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}
	i, err := node.Serve(t.Context(), overlay.Service{Cell: cell, Handle: func(_ context.Context, c net.Conn) { c.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	return real{node, i, dark}
}

// await polls, in virtual time, until every node lists this many living instances.
func await(t *testing.T, nodes []real, want int, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for _, n := range nodes {
		for len(n.Seeds()) != want {
			if time.Since(began) > within {
				t.Fatalf("a node lists %d, want %d, after %s", len(n.Seeds()), want, within)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return time.Since(began)
}

// TestRealNodesNoticeAPowerCut runs the node as it ships: overlay with its DHT, its gossip and its streams over QUIC.
// With -full it runs for ten minutes at sizes that say what a simulation costs.
func TestRealNodesNoticeAPowerCut(t *testing.T) {
	sizes, calm := []int{8}, time.Minute
	if *full {
		sizes, calm = []int{20, 100}, 10*time.Minute
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			wall := wallClock()
			synctest.Test(t, func(t *testing.T) { playNodes(t, size, calm) })
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			t.Logf("%d nodes, %s of virtual time: %.1f s, %d MiB from the system", size, calm, wall(), memory.Sys>>20)
		})
	}
}

// wallClock measures real time; it must be asked outside the bubble.
func wallClock() func() float64 {
	began := time.Now()
	return func() float64 { return time.Since(began).Seconds() }
}

func playNodes(t *testing.T, size int, calm time.Duration) {
	s := &site{net: simnet.Simnet{LatencyFunc: simnet.StaticLatency(50 * time.Millisecond), Logger: slog.New(slog.DiscardHandler)}, port: 1024}
	s.net.Start()
	defer s.net.Close()
	nodes := []real{s.start(t, 0, nil)}
	entry := []peer.AddrInfo{{ID: nodes[0].ID(), Addrs: nodes[0].Host().Addrs()}}
	for i := range size - 1 {
		nodes = append(nodes, s.start(t, i+1, entry))
	}
	t.Logf("all know all after %s", await(t, nodes, size, 2*time.Minute))
	time.Sleep(calm)
	await(t, nodes, size, 0)
	victim := nodes[size-1]
	victim.dark.Store(true)
	took := await(t, nodes[:size-1], size-1, 15*time.Second)
	t.Logf("gone everywhere after %s", took)
	if took > 6*time.Second {
		t.Errorf("the dead node was listed for %s", took)
	}
	for _, n := range nodes {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
