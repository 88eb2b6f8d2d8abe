package dht

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func (w *world) startAnnouncing(d *DHT, name string) *Announcer {
	w.Helper()
	a, err := d.StartAnnouncing(testKey(name), nil, nil)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) ready(a *Announcer, limit time.Duration) {
	w.Helper()
	select {
	case <-a.Ready():
	case <-time.After(limit):
		w.Fatalf("not ready after %v: %+v", limit, a.Status())
	}
}

func TestAloneUntilASecondNodeAppearsThenBothAreReadBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.node(Config{Server: true})
		a := w.startAnnouncing(first, "exchange")
		w.ready(a, time.Second)
		if s := a.Status(); !s.Alone || s.Err != nil || !s.Last.At.IsZero() || s.Due.Before(time.Now()) {
			t.Errorf("alone, status = %+v", s)
		}

		time.Sleep(10 * time.Minute)
		second := w.node(Config{Server: true, Bootstrap: entry(first)})
		begin := time.Now()
		b := w.startAnnouncing(second, "exchange")
		w.ready(b, time.Second)
		w.until("the first to announce, too", time.Second, func() bool { return a.Status().Last.ReadBack })
		t.Logf("both announced and read back %v after the second started", time.Since(begin))
		time.Sleep(5 * time.Second)

		for _, s := range []Status{a.Status(), b.Status()} {
			if s.Alone || s.Last.Replicas != 1 || s.Last.Confirmed != 1 || s.Failures != 0 {
				t.Errorf("status = %+v", s)
			}
		}
		if _, ok := w.find(first, a.key)[second.host.ID()]; !ok {
			t.Error("the first does not find the second")
		}
		if _, ok := w.find(second, a.key)[first.host.ID()]; !ok {
			t.Error("the second does not find the first")
		}
	})
}

func TestRecordLivesAsLongAsItsAnnouncer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(6, Config{Lean: true})
		a := w.startAnnouncing(nodes[2], "exchange")
		w.ready(a, 5*time.Second)

		time.Sleep(3 * validity)
		if _, ok := w.find(nodes[4], a.key)[nodes[2].host.ID()]; !ok {
			t.Fatal("a living announcer is not found after 45 minutes")
		}
		w.crash(nodes[2])
		died := time.Now()
		w.until("the record to go", validity+time.Minute, func() bool {
			time.Sleep(20 * time.Second)
			return len(w.find(nodes[4], a.key)) == 0
		})
		t.Logf("gone %v after the crash", time.Since(died).Round(time.Second))
		if gone := time.Since(died); gone < validity-announceEvery-time.Minute {
			t.Errorf("gone after %v already", gone)
		}
	})
}

func TestChangedAddressIsAnnouncedAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		extra := ma.StringCast("/ip4/8.8.8.8/udp/4/quic-v1")
		var moved atomic.Bool
		c := Config{Server: true, Host: w.hostWith(func(a []ma.Multiaddr) []ma.Multiaddr {
			if moved.Load() {
				return append(a, extra)
			}
			return a
		})}
		other := w.node(Config{Server: true})
		c.Bootstrap = entry(other)
		d := w.node(c)
		a := w.startAnnouncing(d, "exchange")
		w.until("the first announcement to end", 5*time.Second, func() bool { return !a.Status().Due.IsZero() })
		first := a.Status().Last.At

		emit, err := d.host.EventBus().Emitter(new(event.EvtLocalAddressesUpdated))
		if err != nil {
			t.Fatal(err)
		}
		defer emit.Close()
		emit.Emit(event.EvtLocalAddressesUpdated{}) // nothing changed
		time.Sleep(10 * time.Second)
		if a.Status().Last.At != first {
			t.Error("announced anew though the addresses are the same")
		}
		moved.Store(true)
		emit.Emit(event.EvtLocalAddressesUpdated{})
		w.until("the new address to be announced", settle+time.Second, func() bool {
			for _, x := range w.find(other, a.key)[d.host.ID()].Addrs {
				if x.Equal(extra) {
					return true
				}
			}
			return false
		})
	})
}

func TestNodeWhoseTurnItIsNotKeepsSilentUntilItIs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(3, Config{Lean: true})
		var turn atomic.Bool
		a, err := nodes[1].StartAnnouncing(testKey("exchange"), nil, turn.Load)
		if err != nil {
			t.Fatal(err)
		}
		w.ready(a, time.Second)
		time.Sleep(10 * time.Minute)
		if s := a.Status(); s.Announcing || len(w.find(nodes[2], a.key)) != 0 {
			t.Errorf("announced out of turn: %+v", s)
		}
		turn.Store(true)
		w.until("the announcement", turnEvery+5*time.Second, func() bool { return a.Status().Last.ReadBack })
		if !a.Status().Announcing {
			t.Error("Announcing is false")
		}
	})
}

func TestAFailedAnnouncementIsDueAsSoonAsThereIsAPeerAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.node(Config{Server: true})
		s := schedule{every: announceEvery, bad: 10}
		s.done(time.Now(), failed, 4, 0) // with a table of peers that are all out of reach
		a := &Announcer{d: d, kick: make(chan struct{}, 1)}
		addrs, moved, back := d.kad.FilteredAddrs(), d.addrs.wait(), d.back.wait()
		_, grown := d.table.state()
		begin, due := time.Now(), make(chan time.Duration, 1)
		go func() {
			a.wait(t.Context(), &s, addrs, moved, back, grown)
			due <- time.Since(begin)
		}()
		w.node(Config{Server: true, Bootstrap: entry(d)})
		if took := <-due; took > 5*time.Second {
			t.Errorf("due %v after a peer came back", took)
		}
	})
}

func TestTheNetworkIsBackAlsoWhenSeveralPeersConnectAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(3, Config{Lean: true})
		d := nodes[0]
		emit, err := d.host.EventBus().Emitter(new(event.EvtPeerConnectednessChanged))
		if err != nil {
			t.Fatal(err)
		}
		defer emit.Close()
		// back reports whether an event, at which the host says that both are connected, brings the network back.
		back := func(p peer.ID, c network.Connectedness) bool {
			fired := d.back.wait()
			if err := emit.Emit(event.EvtPeerConnectednessChanged{Peer: p, Connectedness: c}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			select {
			case <-fired:
				return true
			default:
				return false
			}
		}
		a, b := nodes[1].host.ID(), nodes[2].host.ID()
		for i, step := range []struct {
			who  peer.ID
			to   network.Connectedness
			back bool
		}{
			{a, network.NotConnected, false},
			{a, network.Connected, false}, // the other one was there
			{a, network.NotConnected, false},
			{b, network.NotConnected, false},
			{b, network.Limited, false}, // through a relay, which the DHT does not use
			{b, network.Connected, true},
			{b, network.Connected, false},
			{a, network.Connected, false},
		} {
			if got := back(step.who, step.to); got != step.back {
				t.Errorf("step %d: back is %v", i, got)
			}
		}
	})
}

func TestNowAnnouncesAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(3, Config{Lean: true})
		a := w.startAnnouncing(nodes[1], "exchange")
		w.ready(a, 5*time.Second)
		time.Sleep(time.Minute)
		before := a.Status().Last.At
		a.Now()
		w.until("another announcement", 2*time.Second, func() bool { return a.Status().Last.At.After(before) })
	})
}

func TestOneAnnouncerPerKeyUntilItIsStopped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.node(Config{Server: true})
		a := w.startAnnouncing(d, "exchange")
		if _, err := d.StartAnnouncing(a.key, nil, nil); !errors.Is(err, ErrAnnouncing) {
			t.Errorf("second announcer: %v", err)
		}
		w.startAnnouncing(d, "prices")
		if got := d.Status(); len(got) != 2 || got[0].Key == got[1].Key {
			t.Errorf("status = %+v", got)
		}
		a.Stop()
		a.Stop()
		w.startAnnouncing(d, "exchange")
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error("second Close:", err)
		}
		if _, err := d.StartAnnouncing(a.key, nil, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		synctest.Wait()
	})
}

func TestNodeThatJoinedEarlyAnnouncesAgainWhenTheNetworkGrew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(2, Config{Lean: true})
		a := w.startAnnouncing(nodes[1], "exchange")
		w.ready(a, 5*time.Second)
		for range 14 {
			w.node(Config{Lean: true, Server: true, Bootstrap: entry(nodes[0])})
		}
		w.until("more than one replica", growthGap+15*time.Second, func() bool { return a.Status().Last.Replicas > 5 })
	})
}
