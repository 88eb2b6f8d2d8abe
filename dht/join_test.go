package dht

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// nobody returns entry points at which nothing answers.
func (w *world) nobody(n int) []peer.AddrInfo {
	out := make([]peer.AddrInfo, n)
	for i := range out {
		id, err := peer.IDFromPrivateKey(newKey(w))
		if err != nil {
			w.Fatal(err)
		}
		out[i] = peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/9.9.9.9/udp/9/quic-v1")}}
	}
	return out
}

func TestEntryPointThatComesUpLateIsJoined(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		host := w.host(newKey(w))
		at := peer.AddrInfo{ID: host.ID(), Addrs: host.Addrs()}
		w.links[host.ID()].pulled.Store(true)
		d := w.node(Config{Server: true, Bootstrap: func() []peer.AddrInfo { return []peer.AddrInfo{at} }})
		a := w.startAnnouncing(d, "exchange")
		w.ready(a, entryTimeout+time.Second)
		if !a.Status().Alone {
			t.Errorf("status = %+v", a.Status())
		}

		time.Sleep(47 * time.Minute)
		w.links[host.ID()].pulled.Store(false)
		late := w.node(Config{Server: true, Host: host})
		up := time.Now()
		w.until("the entry point to be joined and told", entryMax+10*time.Second, func() bool { return a.Status().Last.ReadBack })
		t.Logf("joined and announced %v after it came up", time.Since(up).Round(10*time.Millisecond))
		if _, ok := w.find(late, a.key)[d.host.ID()]; !ok {
			t.Error("not found from the entry point")
		}
	})
}

func TestDeadEntryPointsDoNotDelayTheLiving(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(3, Config{Lean: true})
		list := append(w.nobody(6), entry(nodes[0])()...)
		begin := time.Now()
		d := w.node(Config{Server: true, Lean: true, Bootstrap: func() []peer.AddrInfo { return list }})
		a := w.startAnnouncing(d, "exchange")
		w.ready(a, 2*time.Second)
		t.Logf("announced and read back after %v", time.Since(begin))
		if a.Status().Alone {
			t.Error("alone")
		}
	})
}

func TestNodeThatLostEveryoneComesBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(3, Config{})
		d := nodes[2]
		a := w.startAnnouncing(d, "exchange")
		w.ready(a, 5*time.Second)
		w.crash(nodes[0])
		w.crash(nodes[1])
		w.until("the table to empty", 20*time.Minute, func() bool { return d.Size() == 0 })
		w.until("alone", 2*time.Minute, func() bool { return a.Status().Alone })
		for _, n := range nodes[:2] {
			w.links[n.host.ID()].pulled.Store(false)
		}
		back := time.Now()
		w.until("an announcement that holds", entryMax+15*time.Second, func() bool { return a.Status().Last.At.After(back) })
		t.Logf("announced again %v after the others came back", time.Since(back).Round(10*time.Millisecond))
	})
}

func TestHalvesThatDoNotKnowEachOtherMeetAtAnEntryPoint(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		entryHost := w.host(newKey(w))
		both := []peer.AddrInfo{{ID: entryHost.ID(), Addrs: entryHost.Addrs()}}
		w.links[entryHost.ID()].pulled.Store(true)

		friend := w.node(Config{Server: true})
		east := w.node(Config{Server: true, Bootstrap: func() []peer.AddrInfo { return append(entry(friend)(), both...) }})
		w.until("the eastern half", 10*time.Second, func() bool { return east.Size() == 1 })
		a := w.startAnnouncing(east, "exchange")

		time.Sleep(10 * time.Minute)
		w.links[entryHost.ID()].pulled.Store(false)
		root := w.node(Config{Server: true, Host: entryHost})
		west := w.node(Config{Server: true, Bootstrap: entry(root)})
		w.until("the halves to meet", tendEvery+announceEvery+time.Minute, func() bool {
			time.Sleep(10 * time.Second)
			_, ok := w.find(west, a.key)[east.host.ID()]
			return ok
		})
	})
}

func TestTheTableIsTendedHoweverOftenAddressesChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		friend, stranger := w.node(Config{Server: true}), w.node(Config{Server: true})
		var known atomic.Bool
		d := w.node(Config{Server: true, Bootstrap: func() []peer.AddrInfo {
			if known.Load() {
				return entry(friend, stranger)()
			}
			return entry(friend)()
		}})
		w.until("the first entry point", 10*time.Second, func() bool { return d.Size() == 1 })
		known.Store(true)
		emit, err := d.host.EventBus().Emitter(new(event.EvtLocalAddressesUpdated))
		if err != nil {
			t.Fatal(err)
		}
		defer emit.Close()
		w.until("the other one to be visited", tendFirst+5*time.Second, func() bool {
			if err := emit.Emit(event.EvtLocalAddressesUpdated{}); err != nil {
				t.Error(err)
			}
			return d.connected(stranger.host.ID())
		})
	})
}

func TestTendingKeepsItsTime(t *testing.T) {
	now, n := noon, tending{}
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		want *= time.Second
		for _, passed := range []time.Duration{0, want / 2, want} { // asked again before it is due, as after a change
			if got := n.wait(now.Add(passed), 0); got != want-passed {
				t.Errorf("after %d times and %v it is due in %v, want %v", n.times, passed, got, want-passed)
			}
		}
		now, n = now.Add(want), tending{times: n.times + 1}
	}
}
