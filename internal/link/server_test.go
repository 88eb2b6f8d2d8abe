package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

// gone reports whether the other end ends the connection, and how.
func gone(t *testing.T, c io.Reader) error {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the connection is still there")
	}
	return err
}

func TestSilentClientIsCutOff(t *testing.T) {
	impatient := func(c *ServerConfig) { c.Preface = 500 * time.Millisecond } // the handshake is within it
	onEach(t, func(t *testing.T, path string) {
		t.Run("no Hello", func(t *testing.T) {
			i := serve(t, &handler{}, impatient)
			c := raw(t, i, path)
			if path == QUIC { // a stream is seen by the other end once something was sent on it
				c.Write(helloFrame(t, Probing, hello)[:1])
			}
			if err := gone(t, c); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v", err)
			}
			c.Close()
			eventually(t, "nothing is pending", func() bool { return i.Stats().Pending == 0 })
		})
		t.Run("a byte at a time", func(t *testing.T) {
			i := serve(t, &handler{}, impatient)
			c := raw(t, i, path)
			drip := helloFrame(t, Probing, hello)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			end := finish(c)
			for n := range drip {
				c.Write(drip[n : n+1])
				select {
				case err := <-end:
					if !errors.Is(err, io.ErrUnexpectedEOF) || i.hellos.Load() != 0 {
						t.Errorf("got %v after %d bytes", err, n)
					}
					return
				case <-tick.C:
				}
			}
			t.Error("a Hello may take for ever")
		})
	})
	t.Run("quic without a stream", func(t *testing.T) {
		i := serve(t, &handler{}, impatient)
		c := raw(t, i, QUIC)
		select {
		case <-c.pooled.Context().Done():
		case <-time.After(5 * time.Second):
			t.Error("the connection is still there")
		}
	})
	t.Run("tcp without a handshake", func(t *testing.T) {
		i := serve(t, &handler{}, impatient)
		c, err := net.Dial("tcp", i.tcpConns.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		gone(t, c)
		eventually(t, "nothing is pending", func() bool { return i.Stats() == Stats{Turned: 1} })
	})
}

func TestStreamBetweenTwoHellosIsClosedInTime(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{}, func(c *ServerConfig) { c.Idle = 50 * time.Millisecond })
		c := raw(t, i, path)
		c.Write(helloFrame(t, Probing, hello))
		readWelcome(t, c)
		if err := gone(t, c); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
		c.Close()
		eventually(t, "no connection is left", func() bool { return i.Stats().Conns == 0 })
	})
}

func TestNonsenseIsAnsweredAndEnded(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		for name, text := range map[string]string{
			"too large": "\xff\xff\x7f" + strings.Repeat("x", 10<<10),
			"garbage":   "\x03\xff\xff\xff",
			"empty":     "\x00",
		} {
			c := raw(t, serve(t, &handler{}), path)
			io.WriteString(c, text)
			if w := readWelcome(t, c); w.Code != CodeBad || w.Detail == "" {
				t.Errorf("%s: got %+v", name, w)
			}
			c.CloseWrite()
			if err := gone(t, c); err != nil {
				t.Errorf("%s: ended with %v", name, err)
			}
		}
	})
}

func TestConnectionsAboveTheLimitAreTurnedAway(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{}, func(c *ServerConfig) { c.MaxPending = 2; c.Preface = time.Minute })
		first := raw(t, i, path)
		raw(t, i, path)
		eventually(t, "both are pending", func() bool { return i.Stats().Pending == 2 })
		if _, err := newDialer(t).Probe(withTimeout(t, 5*time.Second), i.target(i.addr(path)), hello); err == nil {
			t.Fatal("a third one was let in")
		}
		if i.Stats().Turned == 0 {
			t.Error("nobody was turned away")
		}
		first.Write(helloFrame(t, Probing, hello))
		readWelcome(t, first)
		if _, err := newDialer(t).Probe(withTimeout(t, 5*time.Second), i.target(i.addr(path)), hello); err != nil {
			t.Errorf("after one said Hello: %v", err)
		}
	})
}

func TestQuotaIsPerRemoteHost(t *testing.T) {
	q := quota{max: 5, maxPerIP: 2, full: "all", fullHost: "host"}
	ip := func(s string) netip.Addr { return hostOf(&net.TCPAddr{IP: net.ParseIP(s), Port: 1}) }
	for _, tt := range []struct {
		ip   string
		want bool
	}{
		{"192.0.2.1", true},
		{"::ffff:192.0.2.1", true},
		{"192.0.2.1", false},
		{"2001:db8::1", true},
		{"2001:db8:0:ff::1", true},
		{"2001:db8:0:7f::2", false},
		{"2001:db8:1::1", true},
		{"192.0.2.2", false}, // full
	} {
		if got := q.take(ip(tt.ip)) == ""; got != tt.want {
			t.Errorf("%s: %v", tt.ip, got)
		}
	}
	q.give(ip("192.0.2.1"))
	if q.take(ip("192.0.2.1")) != "" {
		t.Error("a place that was given back is not free")
	}
	loop := quota{max: 100, maxPerIP: 1, full: "all", fullHost: "host"}
	for range 100 {
		if loop.take(ip("127.0.0.1")) != "" {
			t.Fatal("loopback is bounded per host")
		}
	}
	for range 100 {
		loop.give(ip("127.0.0.1"))
	}
	if loop.len() != 0 || len(loop.perIP) != 0 {
		t.Errorf("%d are left, %v", loop.len(), loop.perIP)
	}
}

func TestOpenStreamsAreBounded(t *testing.T) {
	i := serve(t, &handler{}, func(c *ServerConfig) { c.MaxOpen = 1 })
	d := newDialer(t)
	c := open(t, d, i.target())
	_, err := d.Open(t.Context(), i.target(), hello)
	if r, ok := errors.AsType[*Refused](err); !ok || r.Code != CodeBusy {
		t.Fatalf("got %v", err)
	}
	idle := make(chan error, 1)
	go func() { idle <- i.Idle(t.Context()) }()
	c.Close()
	if err := <-idle; err != nil {
		t.Error(err)
	}
	echo(t, open(t, d, i.target()), "again")
}

func TestPeerAboveItsLimitsIsToldSo(t *testing.T) {
	for name, tt := range map[string]struct {
		limit func(*ServerConfig)
		use   func(t *testing.T, d *Dialer, i *instance)
		why   string
	}{
		turnedPeer: {
			func(c *ServerConfig) { c.MaxOpenPerPeer = 1 },
			func(t *testing.T, d *Dialer, i *instance) { open(t, d, i.target()) },
			"one peer may have 1 calls open",
		},
		turnedPeerConns: {
			func(c *ServerConfig) { c.MaxConnsPerPeer = 1 },
			func(t *testing.T, d *Dialer, i *instance) { open(t, d, i.target(i.tcp)) },
			"one peer may have 1 connections",
		},
		turnedRate: {
			func(c *ServerConfig) { c.MaxHellosPerPeer = 1 },
			func(t *testing.T, d *Dialer, i *instance) {
				for range 2 {
					if _, err := d.List(t.Context(), i.target(i.tcp), hello); err != nil {
						t.Fatal(err)
					}
				}
			},
			"one peer may ask 1 times a second",
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := serve(t, &handler{}, tt.limit)
			d := newDialer(t)
			tt.use(t, d, i)
			_, err := d.Open(t.Context(), i.target(i.tcp), hello)
			if r, ok := errors.AsType[*Refused](err); !ok || r.Code != CodeBusy || r.Detail != tt.why {
				t.Fatalf("got %v", err)
			}
			if n := i.TurnedAway()[name]; n != 1 {
				t.Errorf("counted %v", i.TurnedAway())
			}
			echo(t, open(t, newDialer(t), i.target(i.tcp)), "another peer")
		})
	}
}

// What a peer has given back it may have again, and its rate comes back with time.
func TestAllowanceComesBack(t *testing.T) {
	a, id, now := allowances{max: [kinds]int{1, 1, 1}, rate: 2}, newIdentity(t).Peer(), time.Unix(1e9, 0)
	for k := range kinds {
		if a.take(k, id, now) != "" || a.take(k, id, now) != full[k] {
			t.Fatal("it does not count")
		}
	}
	for k := range kinds {
		a.give(k, id)
		if a.take(k, id, now) != "" || a.take(k, id, now) == "" {
			t.Error("what was given back is still taken, or more than that")
		}
	}
	for range 4 { // what may come at once
		if a.ask(id, now) != "" {
			t.Fatal("asked too little")
		}
	}
	if a.ask(id, now) != turnedRate || a.ask(id, now.Add(499*time.Millisecond)) != turnedRate || a.ask(id, now.Add(time.Second)) != "" {
		t.Error("the rate is another")
	}
}

// A connection that is one too many gives nothing back when it goes.
func TestCrowdedConnectionHoldsNoPlace(t *testing.T) {
	id := newIdentity(t).Peer()
	s := &Server{peers: allowances{max: [kinds]int{ofConns: 1}, rate: 1}, conns: quota{max: 9, maxPerIP: 9}, pending: quota{max: 9, maxPerIP: 9}}
	enter := func() *admission {
		a, ok := s.admit(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if !ok {
			t.Fatal("not admitted")
		}
		a.known(id)
		return a
	}
	held := enter()
	for range 2 {
		a := enter()
		if !a.crowded {
			t.Fatal("it has a second connection")
		}
		a.leave()
	}
	held.leave()
	if enter().crowded {
		t.Error("its only connection is one too many")
	}
}

// Keys are free: those that come and go leave nothing behind.
func TestManyPeersThatCameAndWentAreForgotten(t *testing.T) {
	a, now := allowances{max: [kinds]int{1, 1, 1}, rate: 1}, time.Unix(1e9, 0)
	watcher := peer.ID("watcher")
	a.take(ofWatches, watcher, now)
	for n := range 3 * maxIdleAllowances {
		id := peer.ID(fmt.Sprint(n))
		a.take(ofConns, id, now)
		a.ask(id, now)
		a.give(ofConns, id)
		now = now.Add(time.Millisecond)
	}
	if len(a.peers) > maxIdleAllowances {
		t.Errorf("%d are remembered", len(a.peers))
	}
	if a.take(ofWatches, watcher, now) != turnedPeerWatches {
		t.Error("one that watches is forgotten")
	}
}

func TestCloseEndsHandlersAndConnections(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		ended := make(chan struct{})
		i := serve(t, &handler{open: func(ctx context.Context, _ Hello, c *Conn) {
			<-ctx.Done()
			close(ended)
		}})
		d := newDialer(t)
		c := open(t, d, i.target(i.addr(path)))
		if _, err := d.Probe(t.Context(), i.target(i.addr(path)), hello); err != nil { // leaves a warm one
			t.Fatal(err)
		}
		i.Close()
		select {
		case <-ended:
		default:
			t.Error("Close did not wait for the handler")
		}
		if err := gone(t, c); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream ended with %v", err)
		}
		if s := i.Stats(); s != (Stats{}) {
			t.Errorf("left over: %+v", s)
		}
		i.Close()
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		i.ServeTCP(ln) // on a closed Server
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is open: %v", err)
		}
	})
}

func TestOnlyEd25519PeersWithTheALPNAreTaken(t *testing.T) {
	rsa, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIdentity(rsa); err == nil {
		t.Error("an RSA key makes an identity")
	}
	rsaTLS, err := libp2ptls.NewIdentity(rsa)
	if err != nil {
		t.Fatal(err)
	}
	i := serve(t, &handler{})
	for name, change := range map[string]func(*tls.Config){
		"RSA key": func(c *tls.Config) {
			other, _ := rsaTLS.ConfigForPeer("")
			c.Certificates = other.Certificates
		},
		"no certificate": func(c *tls.Config) { c.Certificates = nil },
		"no ALPN":        func(c *tls.Config) { c.NextProtos = nil },
		"another ALPN":   func(c *tls.Config) { c.NextProtos = []string{"libp2p"} },
		"TLS 1.2":        func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
	} {
		cfg := newIdentity(t).ClientTLS(i.id.Peer())
		change(cfg)
		cfg.VerifyConnection = nil // the client is content with anything
		c, err := tls.Dial("tcp", i.tcpConns.Addr().String(), cfg)
		if err == nil {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if err == nil || err == io.EOF || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := i.hellos.Load(); n != 0 {
		t.Errorf("%d Hellos got through", n)
	}
}

func TestClientInsistsOnTheALPN(t *testing.T) {
	server := newIdentity(t)
	cfg := server.ServerTLS()
	cfg.NextProtos = nil
	cfg.VerifyConnection = nil
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	_, err = newDialer(t).Open(withTimeout(t, 5*time.Second), Target{Peer: server.Peer(), Addrs: append(Target{}.Addrs, tcpAddr(t, ln.Addr()))}, hello)
	if err == nil || !strings.Contains(err.Error(), "does not speak cell/1") {
		t.Errorf("got %v", err)
	}
}
