package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

func TestOpenedStreamCarriesBytesBothWays(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		c := open(t, newDialer(t), i.target(i.addr(path)))
		if c.Path() != path || c.Peer() != i.id.Peer() || c.Welcome().Load != 3 || !c.Addr().Equal(i.addr(path)) {
			t.Errorf("got %s %s %+v %s", c.Path(), c.Peer(), c.Welcome(), c.Addr())
		}
		echo(t, c, "hello")
	})
}

func TestProbedConnectionBecomesTheDataConnection(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		d := newDialer(t)
		for range 3 {
			p, err := d.Probe(t.Context(), i.target(i.addr(path)), hello)
			if err != nil {
				t.Fatal(err)
			}
			if p.RTT <= 0 || p.RTT > time.Second || p.Path != path || p.Welcome.Incarnation != 7 {
				t.Errorf("got %+v", p)
			}
		}
		if _, err := d.List(t.Context(), i.target(i.addr(path)), hello); err != nil {
			t.Fatal(err)
		}
		echo(t, open(t, d, i.target(i.addr(path))), "warm")
		if n := i.Stats().Conns; n != 1 {
			t.Errorf("%d connections at the instance, want the one that was probed", n)
		}
	})
}

func TestWrongPeerIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		to := i.target(i.addr(path))
		to.Peer = newIdentity(t).Peer()
		_, err := newDialer(t).Open(withTimeout(t, 5*time.Second), to, hello)
		var u *UnreachableError
		if !errors.Is(err, ErrWrongPeer) || !errors.As(err, &u) {
			t.Errorf("got %v", err)
		}
		if n := i.hellos.Load(); n != 0 {
			t.Errorf("a Hello went to the wrong peer")
		}
	})
}

func TestRefusalCarriesTheWelcome(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		d := newDialer(t)
		_, err := d.Open(t.Context(), i.target(i.addr(path)), Hello{Cell: otherCell})
		var r *Refused
		if !errors.As(err, &r) || r.Code != CodeCell || r.Detail != "not here" {
			t.Errorf("got %v", err)
		}
		p, err := d.Probe(t.Context(), i.target(i.addr(path)), Hello{Cell: otherCell})
		if !errors.As(err, &r) || p.RTT == 0 || p.Welcome.Code != CodeCell {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func TestManyStreamsToOnePeerOverQUIC(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	var wg sync.WaitGroup
	conns := make([]*Conn, 300)
	for n := range conns {
		wg.Go(func() {
			c, err := d.Open(t.Context(), i.target(i.quic), hello)
			if err != nil {
				t.Errorf("stream %d: %v", n, err)
				return
			}
			conns[n] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, c := range conns {
		echo(t, c, "x")
	}
	if n := i.Stats().Conns; n != 2 {
		t.Errorf("%d connections for 300 streams, want 2", n)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "the instance is idle", func() bool { return i.Stats().Open == 0 })
}

func TestUnreachableSaysWhatHappenedAtEachAddress(t *testing.T) {
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	to := Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{
		tcpAddr(t, closed.Addr()),
		ma.StringCast("/ip4/169.254.169.254/tcp/80/tls"),
		ma.StringCast("/ip4/127.0.0.1/tcp/80"),
	}}
	_, err = newDialer(t).Open(withTimeout(t, 5*time.Second), to, hello)
	var u *UnreachableError
	if !errors.As(err, &u) || len(u.Attempts) != 3 || !errors.Is(err, ErrNotDialable) {
		t.Fatalf("got %v", err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	to := Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{quicAddr(t, silent.LocalAddr())}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = newDialer(t).Open(ctx, to, hello)
	var u *UnreachableError
	if !errors.As(err, &u) || !errors.Is(err, context.DeadlineExceeded) || len(u.Attempts) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestUnprovedDialsAreBounded(t *testing.T) {
	dials := 0
	d := newDialer(t, func(c *DialerConfig) {
		c.DialTCP = func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errors.New("nobody there")
		}
	})
	var err error
	for range 2 * hostBurst {
		to := Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/tcp/443/tls")}}
		_, err = d.Probe(withTimeout(t, 5*time.Second), to, hello)
	}
	if !errors.Is(err, ErrBudget) || dials < hostBurst || dials > hostBurst+30 {
		t.Errorf("%d dials went to one victim, then %v", dials, err)
	}
}

func TestDataGoesOverTCPWhereThatWorks(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	if _, err := d.Probe(t.Context(), i.target(i.tcp), hello); err != nil {
		t.Fatal(err)
	}
	open(t, d, i.target(i.tcp)) // takes the warm one
	first := open(t, d, i.target(i.quic))
	if first.Path() != QUIC {
		t.Fatalf("got %s", first.Path())
	}
	if c := open(t, d, i.target()); c.Path() != TCP {
		t.Errorf("a QUIC connection that stood drew the data to it")
	}
	if _, err := d.List(t.Context(), i.target(i.quic), hello); err != nil {
		t.Fatal(err)
	}
	if n := i.Stats().Conns; n != 3 {
		t.Errorf("%d connections, want two over TCP and one shared over QUIC", n)
	}
}

// A peer found by its UDP address alone, whose record then brings the TCP one, is near: what follows goes over TCP.
func TestNearInstanceIsCalledOverTCPAlthoughItAnsweredOverQUIC(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	if p, err := d.Probe(t.Context(), i.target(i.quic), hello); err != nil || p.Path != QUIC {
		t.Fatalf("%s, %v", p.Path, err)
	}
	d.memory.change(i.id.Peer(), func(k *known) { k.rtt = time.Millisecond })
	if c := open(t, d, i.target()); c.Path() != TCP {
		t.Error("the call went over QUIC")
	}
}

// From far away the connection that was probed is used: it saves the round trips of a handshake.
func TestFarInstanceIsCalledOverTheConnectionThatWasProbed(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	if _, err := d.Probe(t.Context(), i.target(i.quic), hello); err != nil {
		t.Fatal(err)
	}
	d.memory.change(i.id.Peer(), func(k *known) { k.rtt = 80 * time.Millisecond })
	if c := open(t, d, i.target()); c.Path() != QUIC || i.tcpConns.n.Load() != 0 {
		t.Errorf("the call went over %s", c.Path())
	}
}

func TestErrorsOfCallsHaveStableCodes(t *testing.T) {
	for want, err := range map[string]error{
		"E_UNREACHABLE": fmt.Errorf("outer: %w", &UnreachableError{}),
		"E_BUSY":        &Refused{Code: CodeBusy},
		"E_UPSTREAM":    &Refused{Code: CodeUpstream},
		"E_DRAINING":    &Refused{Code: CodeDraining},
		"":              errors.Join(&Refused{Code: CodeCommit}, io.EOF),
	} {
		if got := ErrorCode(err); got != want {
			t.Errorf("%v has %q, want %q", err, got, want)
		}
	}
}

func TestTCPThatComesTooLateIsForTheNextCall(t *testing.T) {
	i := serve(t, &handler{})
	let := make(chan struct{})
	d := newDialer(t, func(c *DialerConfig) {
		c.DialTCP = func(ctx context.Context, network, addr string) (net.Conn, error) {
			select {
			case <-let:
				return new(net.Dialer).DialContext(ctx, network, addr)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	if c := open(t, d, i.target()); c.Path() != QUIC {
		t.Fatal(c.Path())
	}
	close(let)
	eventually(t, "TCP stands", func() bool { return d.memory.get(i.id.Peer()).tcp == tcpWorks })
	if c := open(t, d, i.target()); c.Path() != TCP {
		t.Errorf("the next call goes over %s", c.Path())
	}
}

func TestTCPThatIsSilentIsNotWaitedForTwice(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t, func(c *DialerConfig) {
		c.DialTCP = func(ctx context.Context, _, _ string) (net.Conn, error) { // a firewall that drops
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	if c := open(t, d, i.target()); c.Path() != QUIC {
		t.Fatal(c.Path())
	}
	eventually(t, "TCP is given up", func() bool { return d.memory.get(i.id.Peer()).tcp == tcpFails })
	if list, _ := d.entrants(i.target()); list[0].path != QUIC {
		t.Error("TCP goes first again")
	}
}

func TestIPv6(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	i := serve(t, &handler{})
	i.ServeTCP(ln)
	qc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: qc}
	qln, err := tr.Listen(i.id.ServerTLS(), &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(); qc.Close() })
	i.ServeQUIC(qln)
	d := newDialer(t)
	for _, a := range []ma.Multiaddr{tcpAddr(t, ln.Addr()), quicAddr(t, qc.LocalAddr())} {
		echo(t, open(t, d, i.target(a)), a.String())
	}
	i.Close()
}
