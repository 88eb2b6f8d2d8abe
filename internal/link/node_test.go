package link

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// counted is a DialNode that counts.
func counted(n *atomic.Int64) func(*DialerConfig) {
	return func(c *DialerConfig) {
		c.DialNode = func(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
			n.Add(1)
			return dialNode(ctx, id, circuit)
		}
	}
}

func TestNoRelayIsTroubledWhereAnAddressAnswers(t *testing.T) {
	for _, path := range []string{TCP, QUIC} {
		i := serve(t, &handler{})
		var asked atomic.Int64
		d := newDialer(t, counted(&asked))
		if c := open(t, d, i.target(i.node, i.addr(path))); c.Path() != path || asked.Load() != 0 {
			t.Errorf("the call goes over %s, and the node was asked %d times", c.Path(), asked.Load())
		}
	}
}

// An address that is dead is silent, as behind a NAT: the node is asked while it is still tried.
func TestANodeIsAskedWhileTheAddressesAreSilent(t *testing.T) {
	i := serve(t, &handler{})
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var asked atomic.Int64
	d := newDialer(t, counted(&asked))
	to := i.target(quicAddr(t, silent.LocalAddr()), i.node)
	began := time.Now()
	p, err := d.Probe(t.Context(), to, hello)
	if err != nil || p.Path != LIBP2P || !p.Addr.Equal(i.node) {
		t.Fatalf("got %+v, %v", p, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("that took %s", took)
	}
	echo(t, open(t, d, to), "warm")
	if n := asked.Load(); n != 1 {
		t.Errorf("the node was asked for %d streams, want the one that was probed", n)
	}
	began = time.Now()
	if c := open(t, d, to); c.Path() != LIBP2P || time.Since(began) > hostDelay {
		t.Errorf("the next call goes over %s after %s: what answered last is not tried first", c.Path(), time.Since(began))
	}
}

func TestUnreachableSaysWhyNoPathCouldBeOpened(t *testing.T) {
	refused := errors.New("no hole")
	for _, want := range []error{ErrNoNode, refused} {
		d := newDialer(t, func(c *DialerConfig) {
			c.DialNode = nil
			if want == refused {
				c.DialNode = func(context.Context, peer.ID, ma.Multiaddr) (net.Conn, error) { return nil, refused }
			}
		})
		at := circuit(t)
		_, err := d.Open(t.Context(), Target{Peer: newIdentity(t).Peer(), Addrs: []ma.Multiaddr{at}}, hello)
		var u *UnreachableError
		if !errors.As(err, &u) || !errors.Is(err, want) {
			t.Errorf("got %v, want %v in it", err, want)
			continue
		}
		if !slices.ContainsFunc(u.Attempts, func(a Attempt) bool { return a.Path == LIBP2P && a.Addr.Equal(at) }) {
			t.Errorf("the attempts are %+v", u.Attempts)
		}
	}
}
