//go:build linux && netns

package netns

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/testnet"
)

// status is what an instance's node says of itself.
func (l *lab) status(m member) daemon.Status {
	l.t.Helper()
	c := m.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		l.t.Fatalf("status of node %d: %v", m.Index, err)
	}
	return s
}

// home is a host behind a router of its own on the wire.
func (l *lab) home(nat NAT, public, private, gateway string) *Host {
	l.t.Helper()
	router := l.host(public)
	h, err := BehindNAT(router, nat, netip.MustParsePrefix(private), netip.MustParseAddr(gateway), netip.MustParsePrefix(public).Masked())
	if err != nil {
		l.t.Fatal(err)
	}
	l.closeAtEnd(h)
	return h
}

// Two instances behind a NAT each, and one in the open that both enter by. All three see each other, and a consumer in the open
// reaches all: those behind their NATs by a path that it asks for.
func TestNetnsInstancesBehindNATsAreSeenAndReached(t *testing.T) {
	l := newLab(t)
	l.wire.SetWeather(Weather{MinDelay: 5 * time.Millisecond, MaxDelay: 15 * time.Millisecond})
	n := l.network("a")
	open := l.instance(n, l.host("20.0.0.1/8"), testnet.Spec{})
	entry := []string{open.Bootstrap()}
	first := l.instance(n, l.home(SamePort, "20.0.1.1/8", "192.168.1.2/24", "192.168.1.1"), testnet.Spec{Entry: entry})
	second := l.instance(n, l.home(SamePort, "20.0.2.1/8", "192.168.2.2/24", "192.168.2.1"), testnet.Spec{Entry: entry})
	all := []member{open, first, second}
	t.Logf("each lists all after %s", l.agree(15*time.Second, all, all))
	holds(l, 30*time.Second, all, all)

	for _, m := range all {
		s := l.status(m)
		t.Logf("node %d: nat %+v, addresses %s, DHT %+v, lists %d of 3, notes %q", m.Index, s.NAT, join(s.Addrs), s.DHT, len(l.list(m)), s.Notes)
		if s.NAT.UDP == "" || s.NAT.Confirmed == nil {
			t.Errorf("status of node %d says nothing of its NAT: %+v", m.Index, s.NAT)
		}
		if m.Peer != open.Peer && len(s.NAT.Confirmed) > 0 {
			t.Errorf("node %d says that others have reached it at %s, through a router that lets nobody in", m.Index, join(s.NAT.Confirmed))
		}
	}
	c := l.consumer(l.host("20.0.3.1/8"), entry...)
	began := time.Now()
	reply, code := c.find(cellName)
	took := time.Since(began)
	if code != 0 || took > 5*time.Second || !slices.Equal(replied(reply), peersOf(all)) {
		t.Errorf("find ended with %d after %s and prints %+v", code, took, reply)
	}
	for _, i := range reply.Instances {
		if behind := i.Peer != open.Peer; behind != (i.Path == "libp2p") {
			t.Errorf("%s is reached by %s", i.Peer, i.Path)
		}
	}
	t.Logf("find took %s", took.Round(time.Millisecond))
}
