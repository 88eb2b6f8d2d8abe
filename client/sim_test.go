package client

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/overlay"
)

// sim is a network in virtual time. QUIC only: sockets of the kernel do not know virtual time.
type sim struct {
	*simnet.Simnet
	port int // the last that was given out
}

func newSim(latency time.Duration) *sim {
	s := &sim{Simnet: &simnet.Simnet{LatencyFunc: simnet.StaticLatency(latency), Logger: slog.New(slog.DiscardHandler)}, port: 1024}
	s.Start()
	return s
}

func (s *sim) socket(ip net.IP, port int) net.PacketConn {
	if port == 0 {
		s.port++
		port = s.port
	}
	rate := simnet.LinkSettings{BitsPerSecond: 1_000_000_000}
	return wide{s.NewEndpoint(&net.UDPAddr{IP: ip.To16(), Port: port}, simnet.NodeBiDiLinkSettings{Downlink: rate, Uplink: rate})}
}

// wide writes every destination in 16 bytes: the virtual network takes the two forms of an IPv4 address for two.
type wide struct{ *simnet.SimConn }

func (w wide) WriteTo(p []byte, to net.Addr) (int, error) {
	at := to.(*net.UDPAddr)
	return w.SimConn.WriteTo(p, &net.UDPAddr{IP: at.IP.To16(), Port: at.Port})
}

type fixedIP net.IP

func (ip fixedIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(ip), nil
}

// serve starts an instance at an address of the network.
func (s *sim) serve(t *testing.T, n int) *instance {
	t.Helper()
	ip := net.ParseIP(fmt.Sprintf("1.2.%d.4", n)).To4()
	node, err := overlay.New(t.Context(), overlay.Config{
		Key: newKey(t), NoDHT: true, Listen: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/udp/40000/quic-v1", ip))},
		ListenPacket: func(_ string, at *net.UDPAddr) (net.PacketConn, error) { return s.socket(ip, at.Port), nil },
		DialPacket:   func(string) (net.PacketConn, error) { return s.socket(ip, 0), nil },
		SourceIP:     fixedIP(ip),
	})
	if err != nil {
		t.Fatal(err)
	}
	i, err := node.Serve(t.Context(), overlay.Service{Cell: exchange, Commit: commit, Handle: echo("a")})
	if err != nil {
		t.Fatal(err)
	}
	return &instance{node, i}
}

// client makes a client on the network, which never leaves it.
func (s *sim) client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c := newClient(t, cfg)
	var err error
	if c.source, err = source.New(source.Config{CacheDir: t.TempDir(), Offline: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.dialer.Close(); err != nil {
		t.Fatal(err)
	}
	if c.dialer, err = link.NewDialer(link.DialerConfig{
		Warm: find.Warm, NoTCP: true, Budget: link.NewBudget(),
		ListenPacket: func(string) (net.PacketConn, error) { return s.socket(net.IPv4(5, 6, 7, 8), 0), nil },
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// The cost of a cold dial is the QUIC handshake, the Hello by which the instance is verified, and the Hello that opens.
// What is written then goes along with nothing to wait for.
func TestColdDialWithSeedsTakesThreeRoundTrips(t *testing.T) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(rtt / 2)
				var up []*instance
				for n := range 3 {
					up = append(up, s.serve(t, n))
				}
				c := s.client(t, Config{Dir: consumer(t, seeds(up...)...)})
				began := time.Now()
				conn, err := c.Dial(within(t), "exchange")
				dialled := time.Since(began)
				hear(t, conn, err)
				t.Logf("dialled after %.2f round trips, an echo after %.2f", float64(dialled)/float64(rtt), float64(time.Since(began))/float64(rtt))
				const slack = 5 * time.Millisecond // what the links take to pass packets on
				if dialled > 3*rtt+slack {
					t.Errorf("dialled after %s", dialled)
				}
				if heard := time.Since(began); heard > 4*rtt+slack {
					t.Errorf("the first echo came after %s", heard)
				}
				c.Close()
				for _, i := range up {
					i.Close()
				}
				s.Close()
			})
		})
	}
}
