package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
)

// needMulticast skips a test where a packet to all on the local network does not come back to this machine.
func needMulticast(t *testing.T) {
	t.Helper()
	const service = "_cellnode-test._udp"
	name := fmt.Sprint("t", time.Now().UnixNano())
	server, err := zeroconf.RegisterProxy(name, service, lanDomain, lanPort, name, []string{"127.0.0.1"}, nil, nil)
	if err != nil {
		t.Skip("no multicast here: ", err)
	}
	defer server.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	entries, ended := make(chan *zeroconf.ServiceEntry), make(chan error, 1)
	go func() {
		ended <- zeroconf.Browse(ctx, service, lanDomain, entries, zeroconf.SelectIPTraffic(zeroconf.IPv4))
	}()
	defer func() {
		cancel()
		for range entries { // closed at its end
		}
	}()
	for {
		select {
		case e, open := <-entries:
			if !open {
				t.Skip("no multicast here: nobody answers")
			}
			if e.Instance == name {
				return
			}
		case err := <-ended:
			if err != nil { // it had not begun
				close(entries)
			}
			t.Skip("no multicast here: ", err)
		}
	}
}

// onLAN starts a node that uses mDNS.
func onLAN(t *testing.T, cfg Config) *Node {
	t.Helper()
	cfg.Key, cfg.MDNS = newKey(t), true
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestNodeThatOnlyDialsFindsNeighbours(t *testing.T) {
	needMulticast(t)
	server := onLAN(t, Config{Listen: loopback, NoDHT: true})
	serveEcho(t, server, "a")
	client := onLAN(t, Config{NoDHT: true})
	s := await(t, track(t, client, find.MDNS), "by mDNS alone", 10*time.Second, has(server))
	if at := slices.IndexFunc(s.Ways, func(r find.WayReport) bool { return r.Way == find.MDNS }); at < 0 || s.Ways[at].Err != nil {
		t.Errorf("ways: %v", s.Ways)
	}
}

func TestNeighbourIsAnEntryPoint(t *testing.T) {
	needMulticast(t)
	entry := onLAN(t, Config{Listen: loopback})
	server := newNode(t, entry)
	if err := serveEcho(t, server, "a").Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := onLAN(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := track(t, client, find.DHT).Wait(ctx); err != nil { // the first look finds it, as that of a command must
		t.Error(err)
	}
}

// A node without a place of its own has a key that is gone with it, and a socket to punch holes with, which is nobody's
// affair but theirs who are asked to.
func TestNodeThatOnlyDialsIsNotFound(t *testing.T) {
	beyond := peer.AddrInfo{ID: newNode(t).ID(), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/198.51.100.7/udp/40000/quic-v1")}}
	n := onLAN(t, Config{NoDHT: true, Bootstrap: []peer.AddrInfo{beyond}})
	if len(n.host.Network().ListenAddresses()) == 0 {
		t.Fatal("the node has no socket to punch holes with, so this test shows nothing")
	}
	if n.lan.server != nil {
		t.Error("a client's own node is advertised")
	}
}

// reports collects what a way names.
type reports struct {
	find.Sink
	peers []peer.ID
}

func (r *reports) Found(c find.Candidate) { r.peers = append(r.peers, c.Peer) }

func quicAt(host byte) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/192.0.2.%d/udp/40000/quic-v1", host))
}

func entryOf(id peer.ID, addrs ...ma.Multiaddr) *zeroconf.ServiceEntry {
	e := &zeroconf.ServiceEntry{}
	for _, a := range addrs {
		e.Text = append(e.Text, fmt.Sprintf("dnsaddr=%s/p2p/%s", a, id))
	}
	return e
}

// newPeer returns an ID that can be written down.
func newPeer(t *testing.T) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMDNSThatDoesNotStartSaysWhy(t *testing.T) {
	n := onLAN(t, Config{NoDHT: true})
	n.lan.Close()
	n.lan = newLAN(n.ID(), n.foundOnLAN)
	n.lan.browse = func(context.Context, string, string, chan<- *zeroconf.ServiceEntry, ...zeroconf.ClientOption) error {
		return errors.New("no interface takes part")
	}
	n.lan.start()
	var got error
	for _, w := range n.Ways(exchange, nil) {
		if w.Name == find.MDNS {
			got = w.Run(t.Context(), &reports{})
		}
	}
	if got == nil || !strings.Contains(got.Error(), "could not be started: no interface takes part") {
		t.Errorf("the way says: %v", got)
	}
}

// begun is a zeroconf.Browse that hears the entries after a while, once it has failed so many times.
func begun(failures int, after time.Duration, heard ...*zeroconf.ServiceEntry) browser {
	return func(ctx context.Context, _, _ string, entries chan<- *zeroconf.ServiceEntry, _ ...zeroconf.ClientOption) error {
		if failures--; failures >= 0 {
			return errors.New("udp6: not here") // without closing entries, as zeroconf does
		}
		defer close(entries)
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return nil
		}
		for _, e := range heard {
			entries <- e
		}
		<-ctx.Done()
		return nil
	}
}

func TestNeighboursAreFoundWithoutIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, id := newLAN("self", func(peer.AddrInfo) {}), newPeer(t)
		l.browse = begun(1, 0, entryOf(id, quicAt(1)))
		l.start()
		var found reports
		if err := l.way(t.Context(), &found); err != nil || !slices.Equal(found.peers, []peer.ID{id}) {
			t.Errorf("found %v, %v", found.peers, err)
		}
		if err := l.Close(); err != nil { // which ends, or the bubble does not
			t.Error(err)
		}
	})
}

func TestFirstAnswersHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, id := newLAN("self", func(peer.AddrInfo) {}), newPeer(t)
		defer l.Close()
		l.browse = begun(0, lanAnswers*3/4, entryOf(id, quicAt(1)))
		l.start()
		for _, want := range []time.Duration{lanAnswers, 0} {
			var found reports
			start := time.Now()
			if err := l.way(t.Context(), &found); err != nil || !slices.Equal(found.peers, []peer.ID{id}) {
				t.Errorf("found %v, %v", found.peers, err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
	})
}

func TestNeighbourOfLongAgoGivesWay(t *testing.T) {
	l, now := newLAN("self", nil), time.Now()
	name := func(n int) peer.ID { return peer.ID(fmt.Sprint("peer ", n)) }
	for n := range maxLANPeers {
		l.see(peer.AddrInfo{ID: name(n)}, now.Add(time.Duration(n)*time.Second))
	}
	now = now.Add(time.Hour)
	l.see(peer.AddrInfo{ID: name(0)}, now) // it is there again, so the next one is the oldest
	if !l.see(peer.AddrInfo{ID: name(maxLANPeers)}, now) {
		t.Error("a newcomer is not told of")
	}
	known := map[peer.ID]bool{}
	for _, p := range l.peers() {
		known[p.ID] = true
	}
	if len(known) != maxLANPeers || !known[name(0)] || known[name(1)] || !known[name(2)] || !known[name(maxLANPeers)] {
		t.Errorf("%d known; peer 0: %v, 1: %v, 2: %v, the newcomer: %v",
			len(known), known[name(0)], known[name(1)], known[name(2)], known[name(maxLANPeers)])
	}
}

func TestNeighbourIsToldOfOnceForEachAddress(t *testing.T) {
	self, other := newPeer(t), newPeer(t)
	var told []peer.AddrInfo
	l := newLAN(self, func(p peer.AddrInfo) { told = append(told, p) })
	for n, tt := range []struct {
		said []string
		want int
	}{
		{entryOf(self, quicAt(1)).Text, 0},
		{entryOf(other, quicAt(1), quicAt(2)).Text, 1},
		{entryOf(other, quicAt(2)).Text, 1},
		{entryOf(other, quicAt(3)).Text, 2},
		{append(entryOf(other, quicAt(4)).Text, "dnsaddr=nonsense", "txtvers=1", "/p2p/"+other.String()), 3},
		{append(entryOf(other, quicAt(5)).Text, "dnsaddr="+quicAt(6).String()), 3}, // whose is that?
		{nil, 3},
	} {
		if l.take(tt.said); len(told) != tt.want {
			t.Errorf("%d: told %d times, want %d: %v", n, len(told), tt.want, told)
		}
	}
}
