package punch

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link"
)

// newHost is a host on loopback with QUIC and the relay transport.
func newHost(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append(opts, libp2p.Transport(libp2pquic.NewTransport), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func newPuncher(t *testing.T, h host.Host, seen Seen) *Puncher {
	t.Helper()
	p, err := New(Config{Host: h, Seen: func() Seen { return seen }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func info(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// streams are both ends of one, the second as it was accepted.
func streams(t *testing.T) (near, far net.Conn) {
	t.Helper()
	a, b := newHost(t), newHost(t)
	p := newPuncher(t, b, Seen{Public: true})
	if err := a.Connect(t.Context(), info(b)); err != nil {
		t.Fatal(err)
	}
	near, err := newPuncher(t, a, Seen{Public: true}).Dial(timeout(t, 5*time.Second), b.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	l := p.Listener()
	t.Cleanup(func() { l.Close() })
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestAStreamEndsAsAConnectionDoes(t *testing.T) {
	near, far := streams(t)
	if far.RemoteAddr().Network() != "udp" || near.LocalAddr().String() != far.RemoteAddr().String() {
		t.Errorf("addresses: %s, %s", near.LocalAddr(), far.RemoteAddr())
	}
	if err := far.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read behind the deadline: %v", err)
	}
	if err := far.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	near.Close()
	if got, err := io.ReadAll(far); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed stream: %v", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to a closed stream: %v", err)
	}
}

func TestAResetIsNoEnd(t *testing.T) {
	near, far := streams(t)
	near.(interface{ SetLinger(int) error }).SetLinger(0)
	near.Close()
	if _, err := io.ReadAll(far); err == nil {
		t.Error("a stream that was reset ended well")
	}
}

func TestCloseWhileTheOtherEndDoesNotRead(t *testing.T) {
	near, far := streams(t)
	wrote := make(chan error, 1)
	go func() {
		for {
			if _, err := near.Write(make([]byte, 1<<20)); err != nil {
				wrote <- err
				return
			}
		}
	}()
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil { // the write is under way
		t.Fatal(err)
	}
	near.Close()
	select {
	case err := <-wrote:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("the write ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a write that cannot end")
	}
	if _, err := io.Copy(io.Discard, far); err == nil {
		t.Error("a stream that was cut ended well")
	}
}

// introduced are two hosts that know each other by a relay alone, and its circuit to the second.
func introduced(t *testing.T) (a, b host.Host, circuit ma.Multiaddr) {
	t.Helper()
	r := newHost(t)
	hidden := libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil })
	a, b = newHost(t, hidden), newHost(t, hidden)
	service, err := relay.New(r, relay.WithResources(limits()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	if err := b.Connect(t.Context(), info(r)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Reserve(t.Context(), b, info(r)); err != nil {
		t.Fatal(err)
	}
	return a, b, r.Addrs()[0].Encapsulate(ma.StringCast("/p2p/" + r.ID().String() + "/p2p-circuit"))
}

func TestAStreamThroughARelayIsRefused(t *testing.T) {
	a, b, circuit := introduced(t)
	p := newPuncher(t, b, Seen{Public: true})
	accepted := make(chan net.Conn, 1)
	l := p.Listener()
	t.Cleanup(func() { l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	ctx := timeout(t, 10*time.Second)
	if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{circuit}}); err != nil {
		t.Fatal(err)
	}
	s, err := a.NewStream(network.WithAllowLimitedConn(ctx, "test"), b.ID(), link.Protocol)
	if err == nil {
		_, _ = s.Write([]byte("call"))
		_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = s.Read(make([]byte, 1))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stream was not refused: %v", err)
	}
	select {
	case <-accepted:
		t.Error("a stream through a relay was accepted")
	default:
	}
}

// Where no public node has seen either end, a hole cannot be punched: Dial says so in time, and leaves nothing behind that
// leads through the relay.
func TestDialNeverUsesTheRelayForAStream(t *testing.T) {
	a, b, circuit := introduced(t)
	newPuncher(t, b, Seen{Public: true})
	p := newPuncher(t, a, Seen{Public: true})
	p.begun() // as if one had
	_, err := p.Dial(timeout(t, 10*time.Second), b.ID(), circuit)
	if !errors.Is(err, ErrNoHole) {
		t.Errorf("got %v", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); len(a.Network().ConnsToPeer(b.ID())) > 0; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("a connection stays: %s", a.Network().ConnsToPeer(b.ID())[0].RemoteMultiaddr())
		}
	}
}

func TestARelayCarriesTooLittleForCalls(t *testing.T) {
	a, b, circuit := introduced(t)
	const echo = "/echo/1"
	b.SetStreamHandler(echo, func(s network.Stream) { _, _ = io.Copy(s, s); s.Close() })
	ctx := timeout(t, 20*time.Second)
	if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: []ma.Multiaddr{circuit}}); err != nil {
		t.Fatal(err)
	}
	s, err := a.NewStream(network.WithAllowLimitedConn(ctx, "test"), b.ID(), echo)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<20)
	rand.Read(data)
	go s.Write(data)
	_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(s)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || len(got) > 64<<10 || !bytes.HasPrefix(data, got) {
		t.Errorf("%d bytes came back, then %v", len(got), err)
	}
}

func TestOnlyAFewPublicAddressesAreToldAndTried(t *testing.T) {
	list := []ma.Multiaddr{
		ma.StringCast("/ip4/192.168.1.1/udp/1/quic-v1"), ma.StringCast("/ip4/8.8.8.8/tcp/1"),
		ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1"), ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1"),
	}
	if got := few(list); len(got) != 1 || !got[0].Equal(list[2]) {
		t.Errorf("got %v", got)
	}
	for range 5 {
		list = append(list, ma.StringCast("/ip4/8.8.8.8/udp/"+string('2'+rune(len(list)%8))+"/quic-v1"))
	}
	if got := few(list); len(got) != maxAddrs {
		t.Errorf("%d addresses: %v", len(got), got)
	}
}

func TestANATThatShowsAnotherPortToEachIsNamed(t *testing.T) {
	p := &Puncher{}
	at := func(port string) ma.Multiaddr { return ma.StringCast("/ip4/8.8.8.8/udp/" + port + "/quic-v1") }
	for _, step := range []struct {
		by   peer.ID
		addr ma.Multiaddr
		same bool
	}{
		{"a", at("1"), true},
		{"b", at("1"), true},
		{"c", ma.StringCast("/ip6/2600::1/udp/9/quic-v1"), true},
		{"b", at("2"), false},
		{"a", at("2"), true},
	} {
		if !p.observe(step.by, step.addr) || p.sameEverywhere() != step.same {
			t.Errorf("after %s at %s: %v", step.by, step.addr, p.sameEverywhere())
		}
	}
	if p.observe("d", ma.StringCast("/ip4/10.0.0.1/udp/1/quic-v1")) {
		t.Error("a private address counts as seen")
	}
}
