package overlay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

// pair is UDP and TCP on one port of a loopback address.
func pair(ip string, port int) []ma.Multiaddr {
	family := "ip4"
	if strings.Contains(ip, ":") {
		family = "ip6"
	}
	return []ma.Multiaddr{
		ma.StringCast(fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, ip, port)),
		ma.StringCast(fmt.Sprintf("/%s/%s/tcp/%d/tls", family, ip, port)),
	}
}

// freePort is one that is free for both UDP and TCP, and the next one as well, when it is looked for.
func freePort(t *testing.T) int {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		s, err := bind(slices.Concat(pair("127.0.0.1", port), pair("127.0.0.1", port+1)), listenUDP)
		if err != nil {
			continue
		}
		taken := len(s.notes) > 0
		s.close()
		if !taken {
			return port
		}
	}
	t.Fatal("no two free ports beside each other")
	return 0
}

func listenUDP(network string, at *net.UDPAddr) (net.PacketConn, error) {
	return net.ListenUDP(network, at)
}

func boundPorts(s *sockets) (ports []uint16) {
	for _, l := range s.bound {
		ports = append(ports, l.addr.Port())
	}
	return ports
}

func TestUDPAndTCPGetOnePort(t *testing.T) {
	s, err := bind(pair("127.0.0.1", 0), listenUDP)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if p := boundPorts(s); len(p) != 2 || p[0] != p[1] || p[0] == 0 || len(s.notes) != 0 {
		t.Errorf("bound to %v with the notes %q", p, s.notes)
	}
}

// libp2p opens its sockets from as many goroutines as it has dials.
func TestASocketIsTakenOnce(t *testing.T) {
	s, err := bind(pair("127.0.0.1", 0), listenUDP)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var wg sync.WaitGroup
	var taken atomic.Int64
	for range 8 {
		wg.Go(func() {
			if c := s.take(net.UDPAddrFromAddrPort(s.bound[0].addr)); c != nil {
				taken.Add(1)
				c.Close()
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1 {
		t.Errorf("taken %d times", n)
	}
}

func TestBothMoveOnWhenOneOfThePairIsTaken(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			port := freePort(t)
			at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
			blocker := &sockets{udp: map[netip.AddrPort]net.PacketConn{}}
			defer blocker.close()
			if _, err := blocker.open(listen{udp: network == "udp", addr: at}, listenUDP); err != nil {
				t.Fatal(err)
			}
			s, err := bind(pair("127.0.0.1", port), listenUDP)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			p := boundPorts(s)
			if len(p) != 2 || p[0] != p[1] || int(p[0]) == port {
				t.Errorf("bound to %v, %d is taken for %s", p, port, network)
			}
			want := fmt.Sprintf("port %d is taken; listening on %d instead", port, p[0])
			if !slices.Equal(s.notes, []string{want}) {
				t.Errorf("notes %q, want %q", s.notes, want)
			}
		})
	}
}

func TestSecondNodeOfAMachineTakesTheNextPortAndIsFound(t *testing.T) {
	port := freePort(t)
	first := newNodeOn(t, pair("127.0.0.1", port))
	second := newNodeOn(t, pair("127.0.0.1", port), first)
	serveEcho(t, first, "first")
	serveEcho(t, second, "second")
	if slices.ContainsFunc(second.Listening(), func(a ma.Multiaddr) bool { return slices.ContainsFunc(first.Listening(), a.Equal) }) {
		t.Errorf("the two share a port: %v and %v", first.Listening(), second.Listening())
	}
	if notes := second.Status().Notes; len(notes) != 1 || !strings.Contains(notes[0], "is taken; listening on") {
		t.Errorf("the second says %q", notes)
	}
	tr := track(t, newNode(t, first))
	await(t, tr, "both are known", 20*time.Second, func(list []find.Instance) bool { return has(first)(list) && has(second)(list) })
}

func TestAllPortsTakenSaysWhatToDo(t *testing.T) {
	asked := 0
	_, err := bind(pair("127.0.0.1", 1024)[:1], func(string, *net.UDPAddr) (net.PacketConn, error) {
		asked++
		return nil, &net.OpError{Op: "listen", Err: syscall.EADDRINUSE}
	})
	if err == nil || !strings.Contains(err.Error(), "ports 1024 to 1123 are all taken: set listen in config.toml") || asked != maxPortTries {
		t.Errorf("after %d tries: %v", asked, err)
	}
}

// sockets of one kind only: an instance is found and called all the same.
func TestInstanceWithOneKindOfSocketIsReached(t *testing.T) {
	for name, tt := range map[string]struct {
		listen []ma.Multiaddr
		path   string
		ways   []string
	}{
		"UDP only":  {pair("127.0.0.1", 0)[:1], "quic", []string{find.DHT}},
		"TCP only":  {pair("127.0.0.1", 0)[1:], "tcp", []string{find.Seed}},
		"IPv6 only": {pair("::1", 0), "", []string{find.DHT}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "IPv6 only" {
				needIPv6(t)
			}
			entry := newNodeOn(t, slices.Concat(loopback[:1], ipv6Loopback(t)))
			server := newNodeOn(t, tt.listen, entry)
			serveEcho(t, server, "a")
			client := newNodeOn(t, nil, entry)
			seeds := []manifest.Seed{{Peer: server.ID(), Addrs: server.advertised()}}
			tr, done, err := client.Track(find.Request{Cell: exchange}, seeds, tt.ways)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			s := await(t, tr, name, 20*time.Second, has(server))
			if i := s.Instances[0]; tt.path != "" && i.Path != tt.path {
				t.Errorf("reached by %s", i.Path)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			c, _, err := tr.Dial(ctx)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}

// It cannot be told of by the DHT or met by gossip from outside, which the status says; a member that it has met passes it on.
func TestInstanceWithoutUDPIsListedByThoseThatItMet(t *testing.T) {
	entry := newNode(t)
	whole, tcp := newNode(t, entry), newNodeOn(t, pair("127.0.0.1", 0)[1:], entry)
	serveEcho(t, whole, "whole")
	serveEcho(t, tcp, "tcp")
	if notes := tcp.Status().Notes; len(notes) != 1 || !strings.Contains(notes[0], "no UDP address") || !strings.Contains(notes[0], "sudo ufw allow 40000/udp") {
		t.Errorf("the status says %q", notes)
	}
	tr := track(t, newNode(t, entry))
	await(t, tr, "both", 30*time.Second, func(list []find.Instance) bool { return has(whole)(list) && has(tcp)(list) })
}

func needIPv6(t *testing.T) {
	t.Helper()
	if ipv6Loopback(t) == nil {
		t.Skip("this machine has no ::1")
	}
}

// ipv6Loopback is UDP on ::1, or nil where there is none.
func ipv6Loopback(t *testing.T) []ma.Multiaddr {
	t.Helper()
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		return nil
	}
	c.Close()
	return pair("::1", 0)[:1]
}
