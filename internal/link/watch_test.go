package link

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// startWatch returns once a watch has brought its list, or has been refused.
func startWatch(t *testing.T, d *Dialer, to Target) (end func(), err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(withTimeout(t, 30*time.Second))
	listed, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- d.Watch(ctx, to, hello, func(List) { close(listed) }) }()
	select {
	case <-listed:
		end = sync.OnceFunc(func() { cancel(); <-ended })
		t.Cleanup(end)
		return end, nil
	case err = <-ended:
		cancel()
		return nil, err
	}
}

// mustWatch is startWatch for a watch that is to be taken.
func mustWatch(t *testing.T, d *Dialer, to Target) (end func()) {
	t.Helper()
	end, err := startWatch(t, d, to)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// noWatch checks that one more watch is refused, and why.
func noWatch(t *testing.T, i *instance, d *Dialer, to Target, reason, why string) {
	t.Helper()
	before := i.TurnedAway()[reason]
	_, err := startWatch(t, d, to)
	if r, ok := errors.AsType[*Refused](err); !ok || r.Code != CodeBusy || r.Detail != why {
		t.Fatalf("got %v, want a refusal: %s", err, why)
	}
	if n := i.TurnedAway()[reason]; n != before+1 {
		t.Errorf("counted %v", i.TurnedAway())
	}
}

func TestWatchesOfOnePeerAreBounded(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{}, func(c *ServerConfig) { c.MaxWatchesPerPeer = 2 })
		d, to := newDialer(t), i.target(i.addr(path))
		end := mustWatch(t, d, to)
		mustWatch(t, d, to)
		noWatch(t, i, d, to, turnedPeerWatches, "one peer may have 2 watches open")
		mustWatch(t, newDialer(t), to) // another peer
		if _, err := d.List(t.Context(), to, hello); err != nil {
			t.Errorf("a list is refused as well: %v", err)
		}
		echo(t, open(t, d, to), "a call")
		end()
		eventually(t, "the place is free", func() bool { return i.watches.len() == 2 })
		mustWatch(t, d, to)
		noWatch(t, i, d, to, turnedPeerWatches, "one peer may have 2 watches open")
	})
}

func TestWatchesAreBoundedInAll(t *testing.T) {
	i := serve(t, &handler{}, func(c *ServerConfig) { c.MaxWatches, c.MaxWatchesPerPeer = 2, 1 })
	end := mustWatch(t, newDialer(t), i.target())
	mustWatch(t, newDialer(t), i.target())
	third := newDialer(t)
	noWatch(t, i, third, i.target(), turnedWatches, "2 watches are open")
	end()
	eventually(t, "the place is free", func() bool { return i.watches.len() == 1 })
	mustWatch(t, third, i.target()) // the refusal has cost it none of its own
}

// Loopback is exempt, so the host is made up.
func TestWatchesOfOneHostAreBounded(t *testing.T) {
	i := serve(t, &handler{}, func(c *ServerConfig) { c.MaxWatchesPerIP = 1 })
	ask := func(host string, op Op) (Welcome, func()) {
		c := &Conn{peer: newIdentity(t).Peer()}
		return i.Server.welcome(Hello{Op: op, Cell: testCell}, c, &admission{s: i.Server, ip: netip.MustParseAddr(host)})
	}
	first, release := ask("192.0.2.1", Watching)
	if first.Code != CodeOK {
		t.Fatalf("got %+v", first)
	}
	if w, _ := ask("192.0.2.1", Watching); w.Code != CodeBusy || w.Detail != "one host may have 1 watches open" {
		t.Errorf("a second one of the host: %+v", w)
	}
	if n := i.TurnedAway()[turnedHostWatches]; n != 1 {
		t.Errorf("counted %v", i.TurnedAway())
	}
	if w, _ := ask("192.0.2.1", Listing); w.Code != CodeOK {
		t.Errorf("a list: %+v", w)
	}
	if w, done := ask("192.0.2.2", Watching); w.Code != CodeOK {
		t.Errorf("another host: %+v", w)
	} else {
		done()
	}
	release()
	w, done := ask("192.0.2.1", Watching)
	if w.Code != CodeOK {
		t.Errorf("after the first one has ended: %+v", w)
	}
	done()
	if n := i.watches.len(); n != 0 {
		t.Errorf("%d are counted at the end", n)
	}
}

func TestRefusedWatchTakesNoPlace(t *testing.T) {
	i := serve(t, &handler{welcome: func(Hello, peer.ID) Welcome { return Welcome{Code: CodeCell} }})
	_, err := startWatch(t, newDialer(t), i.target())
	if r, ok := errors.AsType[*Refused](err); !ok || r.Code != CodeCell || i.watches.len() != 0 {
		t.Errorf("got %v, and %d are counted", err, i.watches.len())
	}
}

// A client opens every stream of a connection with one packet: those that say nothing hold up their own connection alone.
func TestStreamsWithoutHelloAreBounded(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		e, err := parseAddr(s.target.Addrs[0], s.target.Peer)
		if err != nil {
			t.Fatal(err)
		}
		connect := func() *Conn {
			c, err := s.connect(t.Context(), s.target, e)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		greet := func(c *Conn) time.Duration {
			start := time.Now()
			c.Write(helloFrame(t, Probing, hello))
			if w := readWelcome(t, c); w.Code != CodeOK {
				t.Errorf("got %+v", w)
			}
			return time.Since(start)
		}
		c := connect()
		took(t, "the first Hello", greet(c), 2*simLatency, 2*simLatency+10*time.Millisecond)
		for range maxSilent {
			silent := c.pooled.open()
			defer silent.Close()
			silent.Write(helloFrame(t, Probing, hello)[:1])
		}
		c.pooled.retire() // or the next one is on the same connection
		other := connect()
		took(t, "a Hello on another connection", greet(other), 2*simLatency, 2*simLatency+10*time.Millisecond)
		behind := c.pooled.open()
		took(t, "a Hello behind silent streams", greet(behind), time.Second, s.server.cfg.Preface)
		took(t, "the next one", greet(behind), 2*simLatency, 2*simLatency+10*time.Millisecond)
	})
}
