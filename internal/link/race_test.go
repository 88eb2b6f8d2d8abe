package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestArrange(t *testing.T) {
	local := prefixes("127.0.0.0/8", "192.168.7.0/24")
	const (
		pubT, pubQ = "/ip4/8.8.8.8/tcp/1/tls", "/ip4/8.8.8.8/udp/1/quic-v1"
		lanT, lanQ = "/ip4/192.168.7.7/tcp/1/tls", "/ip4/192.168.7.7/udp/1/quic-v1"
		loT        = "/ip4/127.0.0.1/tcp/1/tls"
		nameQ      = "/dns4/x.example/udp/1/quic-v1"
	)
	for _, tt := range []struct {
		name string
		in   []string
		k    known
		want string
	}{
		{"tcp first, quic close behind", []string{pubQ, pubT}, known{}, pubT + " 40ms " + pubQ},
		{
			"near before far",
			[]string{nameQ, pubQ, pubT, lanQ, lanT, loT},
			known{},
			loT + " 150ms " + lanT + " 40ms " + lanQ + " 150ms " + nameQ + " 150ms " + pubT + " 40ms " + pubQ,
		},
		{"the host that answered", []string{lanT, pubQ, pubT}, known{host: "8.8.8.8", tcp: tcpWorks}, pubT + " 150ms " + pubQ + " 150ms " + lanT},
		{"quic where tcp does not work", []string{pubT, pubQ}, known{host: "8.8.8.8", tcp: tcpFails}, pubQ + " 150ms " + pubT},
		{"tcp where only quic was tried", []string{pubQ, pubT}, known{host: "8.8.8.8"}, pubT + " 40ms " + pubQ},
		{"nothing", nil, known{}, ""},
	} {
		var ends []endpoint
		for _, s := range tt.in {
			e, err := parseAddr(ma.StringCast(s), "")
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, e)
		}
		var got strings.Builder
		for i, e := range arrange(ends, tt.k, local) {
			if i > 0 {
				got.WriteString(" " + e.after.String() + " ")
			}
			got.WriteString(e.ma.String())
		}
		if got.String() != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, &got, tt.want)
		}
	}
}

func TestAddressesOfATargetAreBoundedAndDistinct(t *testing.T) {
	d := newDialer(t)
	id := newIdentity(t).Peer()
	var addrs []ma.Multiaddr
	for n := range 40 {
		ip := netip.AddrFrom4([4]byte{8, 8, 8, byte(n / 2)})
		addrs = append(addrs, ma.StringCast("/ip4/"+ip.String()+"/tcp/1/tls"))
	}
	addrs = append(addrs[:3], append([]ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/tcp/1/tls/p2p/" + newIdentity(t).Peer().String())}, addrs[3:]...)...)
	list, refused := d.entrants(Target{Peer: id, Addrs: addrs})
	if len(list) != 8 || len(refused) != 1 {
		t.Errorf("%d addresses, %d refused", len(list), len(refused))
	}
}

// mute accepts TCP connections and says nothing: a firewall, or a service that hangs.
func mute(t *testing.T) ma.Multiaddr {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return tcpAddr(t, ln.Addr())
}

func TestDeadPathLosesTheRace(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	start := time.Now()
	c := open(t, d, i.target(mute(t), i.quic))
	if c.Path() != QUIC {
		t.Errorf("won by %s", c.Path())
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestTCPIsPreferredWhenBothStand(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	r := d.race(t.Context(), i.target())
	defer r.stop()
	r.launch()
	r.launch()
	for n := 0; len(r.running) > 0 && n < 2; n++ { // both, whatever the order in which they arrive
		r.take(<-r.results)
	}
	if len(r.ready) != 2 {
		t.Fatalf("%v", r.failed)
	}
	if c := r.next(); c == nil || c.Path() != TCP {
		t.Errorf("got %v", c)
	} else {
		c.Close()
	}
}

func TestLosersAreClosed(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t)
	ctx, end, err := d.call(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := d.race(ctx, i.target())
	r.launch()
	r.launch()
	eventually(t, "both stand", func() bool { return i.Stats().Conns == 2 && len(r.results) == 2 })
	c := r.next()
	if c == nil {
		t.Fatal(r.failed)
	}
	r.stop()
	end()
	eventually(t, "the loser is closed", func() bool { return i.Stats().Conns == 1 })
	c.Close()
}

func TestInstanceThatHangsAfterTheHandshakeIsPassedOver(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	h := &handler{}
	h.welcome = func(Hello, peer.ID) Welcome {
		if h.hellos.Load() == 1 {
			<-block
		}
		return Welcome{Code: CodeOK}
	}
	i := serve(t, h)
	d := newDialer(t, func(c *DialerConfig) { c.WelcomeTimeout = 100 * time.Millisecond })
	c := open(t, d, i.target())
	echo(t, c, "the other path")
}

func TestMissingWelcomeIsATypedError(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		block := make(chan struct{})
		i := serve(t, &handler{welcome: func(Hello, peer.ID) Welcome { <-block; return Welcome{} }})
		defer close(block)
		d := newDialer(t, func(c *DialerConfig) { c.WelcomeTimeout = 50 * time.Millisecond })
		_, err := d.Open(t.Context(), i.target(i.addr(path)), hello)
		if !errors.Is(err, ErrPreface) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStaleWarmConnectionIsReplaced(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		id := newIdentity(t)
		first := serve(t, &handler{}, func(c *ServerConfig) { c.Identity = id })
		d := newDialer(t)
		if _, err := d.Probe(t.Context(), first.target(first.addr(path)), hello); err != nil {
			t.Fatal(err)
		}
		second := serve(t, &handler{}, func(c *ServerConfig) { c.Identity = id })
		first.Close()
		echo(t, open(t, d, second.target(second.addr(path))), "moved")
	})
}

func TestWarmConnectionThatFellSilentIsReplaced(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		block := make(chan struct{})
		id := newIdentity(t)
		h := &handler{}
		h.welcome = func(Hello, peer.ID) Welcome {
			if h.hellos.Load() > probeSamples {
				<-block
			}
			return Welcome{Code: CodeOK}
		}
		hung := serve(t, h, func(c *ServerConfig) { c.Identity = id })
		defer close(block)
		d := newDialer(t)
		if _, err := d.Probe(t.Context(), hung.target(hung.addr(path)), hello); err != nil {
			t.Fatal(err)
		}
		well := serve(t, &handler{}, func(c *ServerConfig) { c.Identity = id })
		start := time.Now()
		echo(t, open(t, d, well.target(well.addr(path))), "elsewhere")
		if took := time.Since(start); took > d.cfg.WelcomeTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestWarmConnectionsAreClosedInTime(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		d := newDialer(t, func(c *DialerConfig) { c.Warm = 30 * time.Millisecond })
		if _, err := d.Probe(t.Context(), i.target(i.addr(path)), hello); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connection is closed", func() bool { return i.Stats().Conns == 0 })
	})
}

func TestQUICConnectionIsSharedUntilItsLastStreamEnds(t *testing.T) {
	i := serve(t, &handler{})
	d := newDialer(t, func(c *DialerConfig) { c.Warm = 30 * time.Millisecond })
	a, b := open(t, d, i.target(i.quic)), open(t, d, i.target(i.quic))
	a.Close()
	echo(t, b, "still here")
	if n := i.Stats().Conns; n != 1 {
		t.Errorf("%d connections", n)
	}
	b.Close()
	eventually(t, "the connection is closed", func() bool { return i.Stats().Conns == 0 })
}

func TestClosedDialerEndsItsCalls(t *testing.T) {
	d := newDialer(t)
	to := Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{mute(t)}}
	done := make(chan error, 1)
	go func() {
		_, err := d.Open(context.Background(), to, hello)
		done <- err
	}()
	eventually(t, "the call is under way", func() bool { return d.memory.get(to.Peer).tcp == tcpWorks })
	d.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Open(t.Context(), to, hello); err != ErrClosed {
		t.Errorf("behind Close: %v", err)
	}
}

func TestTargetWithoutPeerIsRefused(t *testing.T) {
	i := serve(t, &handler{})
	if _, err := newDialer(t).Open(t.Context(), Target{Addrs: []ma.Multiaddr{i.tcp}}, hello); err == nil {
		t.Error("anybody would do")
	}
	if i.hellos.Load() != 0 {
		t.Error("a Hello went out")
	}
}

func TestDisabledTransportIsNotDialled(t *testing.T) {
	i := serve(t, &handler{})
	for path, change := range map[string]func(*DialerConfig){
		TCP:  func(c *DialerConfig) { c.NoQUIC = true },
		QUIC: func(c *DialerConfig) { c.NoTCP = true },
	} {
		if c := open(t, newDialer(t, change), i.target()); c.Path() != path {
			t.Errorf("want %s, got %s", path, c.Path())
		}
	}
	if _, err := NewDialer(DialerConfig{NoTCP: true, NoQUIC: true}); err == nil {
		t.Error("a Dialer without any transport")
	}
}

// A port that nobody reads stands for the UDP side of an instance that has crashed: it is silent, and TCP is refused.
func TestCrashedInstanceIsGivenUpSoonAfterTCPIsRefused(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	at := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	closed, err := net.Listen("tcp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	d := newDialer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = d.Probe(ctx, Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/" + strconv.Itoa(int(at.Port())) + "/quic-v1"),
		ma.StringCast("/ip4/127.0.0.1/tcp/" + strconv.Itoa(int(at.Port())) + "/tls"),
	}}, Hello{Cell: testCell})
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !errors.Is(err, errRefused) || ctx.Err() != nil {
		t.Fatalf("got %v", err)
	}
}
