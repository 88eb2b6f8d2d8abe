package dht

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestAnnouncedIsFoundByEveryNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(20, Config{Lean: true})
		client := w.node(Config{Lean: true, Bootstrap: entry(nodes[0])})
		key := testKey("exchange")
		a := w.announce(nodes[7], key)
		if !a.ReadBack || a.Alone || a.Replicas < leanBucketSize || a.Confirmed != a.Asked {
			t.Errorf("announced = %+v", a)
		}
		for i, d := range append(nodes, client) {
			got := w.find(d, key)
			if i != 7 && len(got[nodes[7].host.ID()].Addrs) == 0 {
				t.Errorf("node %d did not find the announcer", i)
			}
			if _, self := got[d.host.ID()]; self {
				t.Errorf("node %d found itself", i)
			}
		}
		if other := w.find(nodes[3], testKey("prices")); len(other) != 0 {
			t.Errorf("another key has %d providers", len(other))
		}
	})
}

func TestEveryProviderIsFoundOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(12, Config{Lean: true})
		key := testKey("exchange")
		for _, d := range nodes[2:] {
			w.announce(d, key)
		}
		if got := w.find(nodes[0], key); len(got) != 10 {
			t.Errorf("found %d of 10", len(got))
		}
	})
}

// A cold client: handshake 2 one-way latencies and more, then one question.
func TestSeedsAnswerBeforeTheTableIsFilled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(10, Config{Lean: true})
		key, seed := testKey("exchange"), nodes[3]
		w.announce(nodes[7], key, seed.host.ID())
		seeds := append(w.nobody(5), entry(seed)()...)

		begin := time.Now()
		client := w.node(Config{Lean: true, Bootstrap: func() []peer.AddrInfo { return seeds }})
		ctx, cancel := context.WithCancel(t.Context())
		var first time.Duration
		err := client.FindVia(ctx, key, nil, func(i peer.AddrInfo) {
			first = time.Since(begin)
			cancel()
		})
		if first == 0 || first > 8*oneWay {
			t.Errorf("first answer after %v", first)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled search: %v", err)
		}
		t.Logf("first answer after %v, %d RTT", first, first/(2*oneWay))
	})
}

func TestSearchThatNobodyAnswersSaysSo(t *testing.T) {
	for name, list := range map[string]func(w *world) []peer.AddrInfo{
		"no entry points":   func(*world) []peer.AddrInfo { return nil },
		"dead entry points": func(w *world) []peer.AddrInfo { return w.nobody(20) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				entries := list(w)
				d := w.node(Config{Bootstrap: func() []peer.AddrInfo { return entries }})
				begin := time.Now()
				err := d.Find(t.Context(), testKey("exchange"), func(i peer.AddrInfo) { t.Errorf("found %v", i) })
				if !errors.Is(err, ErrNoPeers) {
					t.Errorf("err = %v", err)
				}
				if took := time.Since(begin); took > 2*entryTimeout {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestDeadEntryPointsDoNotDelayASearch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(6, Config{Lean: true})
		key := testKey("exchange")
		w.announce(nodes[4], key)
		var dead atomic.Bool
		list := append(entry(nodes[0])(), w.nobody(15)...)
		client := w.node(Config{Lean: true, Bootstrap: func() []peer.AddrInfo {
			if dead.Load() {
				return list
			}
			return list[:1]
		}})
		w.until("the table to fill", 10*time.Second, func() bool { return client.Size() > 3 })
		dead.Store(true)
		begin := time.Now()
		var first time.Duration
		if err := client.Find(t.Context(), key, func(peer.AddrInfo) { first = time.Since(begin) }); err != nil {
			t.Error(err)
		}
		if first == 0 || first > time.Second {
			t.Errorf("first answer after %v", first)
		}
		if took := time.Since(begin); took > rpcTimeout+time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestProviderWithoutAddressIsLookedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(8, Config{Lean: true})
		key, gone := testKey("exchange"), nodes[5].host.ID()
		w.announce(nodes[5], key)
		for _, d := range nodes {
			if d != nodes[5] && d != nodes[2] && !d.connected(gone) {
				d.host.Peerstore().ClearAddrs(gone)
			}
		}
		client := w.node(Config{Lean: true, Bootstrap: entry(nodes[1])})
		if got := w.find(client, key); len(got[gone].Addrs) == 0 {
			t.Errorf("found %v", got)
		}
	})
}

func TestUnionReportsEachPeerOnceAndWithAnAddress(t *testing.T) {
	addr := ma.StringCast("/ip4/8.8.8.8/udp/4/quic-v1")
	ids := make([]peer.ID, 6)
	for i := range ids {
		ids[i] = peer.ID(randomTargets(1)[0])
	}
	var got []peer.ID
	u := newUnion(ids[0], func(i peer.AddrInfo) { got = append(got, i.ID) })
	share := 4
	for _, i := range []peer.AddrInfo{
		{ID: ids[0], Addrs: []ma.Multiaddr{addr}}, // ourselves
		{ID: "", Addrs: []ma.Multiaddr{addr}},
		{ID: ids[1]},
		{ID: ids[1], Addrs: []ma.Multiaddr{ma.StringCast("/ip4/0.0.0.0/udp/4/quic-v1")}},
		{ID: ids[1], Addrs: []ma.Multiaddr{addr}},
		{ID: ids[1], Addrs: []ma.Multiaddr{addr}},
		{ID: ids[2], Addrs: []ma.Multiaddr{addr}},
		{ID: ids[3]},
		{ID: ids[4], Addrs: []ma.Multiaddr{addr}}, // beyond the share of this answer
	} {
		u.add(i, &share)
	}
	if len(got) != 2 || got[0] != ids[1] || got[1] != ids[2] || u.len() != 2 {
		t.Errorf("reported %v", got)
	}
	if bare := u.bare(); len(bare) != 1 || bare[0] != ids[3] {
		t.Errorf("bare = %v", bare)
	}
	other := 1
	u.add(peer.AddrInfo{ID: ids[4], Addrs: []ma.Multiaddr{addr}}, &other)
	if len(got) != 3 {
		t.Error("another answer's share is not its own")
	}
}
