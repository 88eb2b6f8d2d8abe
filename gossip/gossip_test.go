package gossip

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

func TestKilledInstanceIsPruned(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(8)
		defer func() { stopAll(nodes) }()
		var took []time.Duration
		for i := range 5 {
			time.Sleep(3*time.Second + time.Duration(i)*170*time.Millisecond)
			victim := nodes[len(nodes)-1]
			nodes = nodes[:len(nodes)-1]
			victim.kill()
			took = append(took, await(t, 5*time.Second, "the victim is gone everywhere", func() bool { return agree(nodes) }))
		}
		t.Logf("p50 %s max %s", quantile(took, 0.5), quantile(took, 1))
	})
}

func TestLeaveIsSeenEverywhereWithinASecond(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(8)
		leaver := nodes[3]
		nodes = slices.Delete(nodes, 3, 4)
		defer func() { stopAll(nodes) }()
		start := time.Now()
		if err := leaver.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		leaver.stop()
		await(t, time.Second-time.Since(start), "the leaver is gone everywhere", func() bool { return agree(nodes) })
	})
}

func TestLeaveDoesNotWaitForThoseWhoHaveLeftThemselves(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(5)
		defer func() { stopAll(nodes) }()
		for len(nodes) > 1 {
			start := time.Now()
			if err := nodes[0].Leave(t.Context()); err != nil || time.Since(start) > leaveFlush/2 {
				t.Errorf("%v after %s", err, time.Since(start))
			}
			nodes[0].stop()
			nodes = nodes[1:]
		}
	})
}

func TestLeaveRightAfterTheFirstHelloIsSeen(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		stays, leaver := l.node(), l.node()
		stays.gossip()
		defer stays.stop()
		leaver.gossip(stays)
		watching, done := context.WithTimeout(t.Context(), 5*time.Second)
		err := stays.Watch(watching, func(events []Event) {
			if slices.ContainsFunc(events, func(e Event) bool { return e.Member.Record.Peer == leaver.host.ID() }) {
				done()
			}
		})
		if !errors.Is(err, context.Canceled) || len(stays.Members()) != 2 || len(leaver.Members()) != 1 {
			t.Errorf("the newcomer is not listed, or its greeting is answered already: %v", err)
		}
		if err := leaver.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		leaver.stop()
		if len(stays.Members()) != 1 {
			t.Error("it is listed though it has left")
		}
	})
}

func TestLeaveDoesNotWaitLongForSomebodyWhoNeverAnswered(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n, dead := l.node(), l.node()
		dead.stop()
		n.gossip(dead)
		defer n.stop()
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		if err := n.Leave(t.Context()); err != nil || time.Since(start) > leaveFlush {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestLeaveDoesNotWaitForSomebodyWhoCouldNotBeReached(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n, dead := l.node(), l.node()
		dead.dark.Store(true)
		n.gossip(dead)
		defer stopAll([]*node{n, dead})
		await(t, 2*OpenTimeout, "the dial has failed", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			l := n.machine.links[dead.host.ID()]
			return l != nil && l.failed
		})
		start := time.Now()
		if err := n.Leave(t.Context()); err != nil || time.Since(start) > leaveFlush/2 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestLeaveWithoutAnybodyReturnsAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.node()
		n.gossip()
		defer n.stop()
		if err := n.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestLeaveSaysWhenNobodyConfirms(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(2)
		defer stopAll(nodes)
		time.Sleep(3 * time.Second)
		nodes[1].dark.Store(true)
		start := time.Now()
		if err := nodes[0].Leave(context.Background()); !errors.Is(err, ErrNotFlushed) || time.Since(start) > leaveFlush {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestRestartedInstanceIsBackWithinTwoSeconds(t *testing.T) {
	for _, silent := range []bool{false, true} {
		inLab(t, func(t *testing.T, l *lab) {
			nodes := l.cell(6)
			defer func() { stopAll(nodes) }()
			time.Sleep(5 * time.Second)
			n := nodes[2]
			before := n.Self().Incarnation
			if silent {
				n.kill()
			} else {
				n.stop()
			}
			n.dark.Store(false)
			time.Sleep(100 * time.Millisecond)
			n.listen()
			n.gossip(nodes[0])
			took := await(t, 2*time.Second, "all know the new life", func() bool {
				return agree(nodes) && !slices.ContainsFunc(nodes, func(o *node) bool { return o.knows(n).Incarnation == before })
			})
			time.Sleep(20 * time.Second)
			if !agree(nodes) {
				t.Error("the restart made somebody disappear")
			}
			t.Logf("silent=%v: %s", silent, took)
		})
	}
}

// knows returns the record of o that n lists.
func (n *node) knows(o *node) *record.Signed {
	for _, m := range n.Members() {
		if m.Record.Peer == o.host.ID() {
			return m.Record
		}
	}
	return &record.Signed{}
}

func TestPartitionedNodesFindEachOtherAgain(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(5)
		defer stopAll(nodes)
		nodes[4].dark.Store(true)
		await(t, 6*time.Second, "the others drop it", func() bool { return agree(nodes[:4]) })
		time.Sleep(40 * time.Second) // all connections have timed out
		nodes[4].dark.Store(false)
		await(t, 30*time.Second, "all know all again", func() bool { return agree(nodes) })
	})
}

// TestStalledPeerStallsNobody is about a peer that takes every stream and frame, and answers none.
func TestStalledPeerStallsNobody(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(3)
		defer stopAll(nodes)
		mute := l.node()
		defer mute.stop()
		mute.host.SetStreamHandler(Protocol, func(s network.Stream) {}) // never read
		s := mute.hello(nodes[0])
		defer s.Reset()
		await(t, time.Second, "the mute peer is listed", func() bool { return lists(nodes[2].Members(), mute.host.ID()) })
		await(t, 10*time.Second, "it is dropped", func() bool { return agree(nodes) })
	})
}

// hello opens a stream to a node by hand and introduces n on it.
func (n *node) hello(to *node) network.Stream {
	n.l.t.Helper()
	ctx := context.Background()
	if err := n.host.Connect(ctx, to.info()); err != nil {
		n.l.t.Fatal(err)
	}
	s, err := n.host.NewStream(ctx, to.host.ID(), Protocol)
	if err != nil {
		n.l.t.Fatal(err)
	}
	n.write(s, &Hello{Record: n.record(testCell).Envelope, Count: 1})
	return s
}

func (n *node) write(s network.Stream, m Message) {
	n.l.t.Helper()
	if _, err := s.Write(mustEncode(n.l.t, m)); err != nil {
		n.l.t.Fatal(err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(2)
		defer stopAll(nodes)
		stranger := l.node()
		defer stranger.stop()
		ctx := context.Background()
		if err := stranger.host.Connect(ctx, nodes[0].info()); err != nil {
			t.Fatal(err)
		}
		other, err := Encode(&Hello{Record: stranger.record(otherCell).Envelope}, otherCell)
		if err != nil {
			t.Fatal(err)
		}
		for name, first := range map[string][]byte{
			"another cell":       other,
			"somebody's record":  mustEncode(t, &Hello{Record: nodes[1].Self().Envelope}),
			"a bad record":       mustEncode(t, &Hello{Record: []byte("record")}),
			"no hello":           mustEncode(t, &Push{Records: [][]byte{stranger.record(testCell).Envelope}}),
			"garbage":            []byte("\x05hello"),
			"a frame over limit": {0xff, 0xff, 0xff, 0x7f},
		} {
			s, err := stranger.host.NewStream(ctx, nodes[0].host.ID(), Protocol)
			if err != nil {
				t.Fatal(err)
			}
			s.Write(first)
			s.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
				t.Errorf("%s: %v, want a reset stream", name, err)
			}
		}
		if !agree(nodes) {
			t.Error("a stranger is listed")
		}
	})
}

func TestWatchTellsEverythingInOrder(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(3)
		defer func() { stopAll(nodes[:2]) }()
		var mu sync.Mutex
		var seen []Event
		done := make(chan error, 1)
		go func() {
			done <- nodes[0].Watch(context.Background(), func(events []Event) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, events...)
			})
		}()
		synctest.Wait()
		if len(seen) != 3 {
			t.Fatalf("first %d events, want one for each member", len(seen))
		}
		time.Sleep(5 * time.Second)
		nodes[2].kill()
		await(t, 5*time.Second, "it is gone", func() bool { return agree(nodes[:2]) })
		nodes[0].Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Watch returned %v", err)
		}
		var kinds []Kind
		for _, e := range seen[3:] {
			if e.Member.Record.Peer == nodes[2].host.ID() {
				kinds = append(kinds, e.Kind)
			}
		}
		if !slices.Equal(kinds, []Kind{Suspected, Dead}) {
			t.Errorf("events %v, want suspected, dead", kinds)
		}
	})
}

func TestHealthOfTheServiceIsKnownEverywhere(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(2)
		sick := l.node()
		nodes = append(nodes, sick)
		defer func() { stopAll(nodes) }()
		var state atomic.Uint32
		state.Store(uint32(record.Serving))
		cfg := sick.config()
		cfg.Health = func() record.State { return record.State(state.Load()) }
		g, err := New(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		sick.Gossip = g
		sick.join(nodes[0])
		await(t, time.Second, "joined", func() bool { return agree(nodes) })
		for _, want := range []record.State{record.Unhealthy, record.Serving} {
			version := nodes[0].Version()
			state.Store(uint32(want))
			await(t, time.Second, want.String(), func() bool {
				return nodes[0].knows(sick).State == want && nodes[1].knows(sick).State == want
			})
			if nodes[0].Version() == version {
				t.Error("a change left the version as it was")
			}
		}
	})
}

func TestUpdateReachesEverybody(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(4)
		defer stopAll(nodes)
		in := nodes[1].Self().Instance
		in.State = record.Draining // and not a higher sequence number
		rec, err := record.Sign(nodes[1].key, in)
		if err != nil {
			t.Fatal(err)
		}
		nodes[1].Update(rec)
		await(t, time.Second, "all know", func() bool {
			return !slices.ContainsFunc(nodes, func(o *node) bool { return o.knows(nodes[1]).State != record.Draining })
		})
		if got := nodes[1].Self(); got.Seq != in.Seq+1 {
			t.Errorf("seq %d, want %d", got.Seq, in.Seq+1)
		}
	})
}

func TestTwoCellsShareAHost(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(2)
		defer stopAll(nodes)
		var others []*Gossip
		for _, n := range nodes {
			cfg := n.config()
			cfg.Cell, cfg.Record = otherCell, n.record(otherCell)
			g, err := New(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			others = append(others, g)
		}
		if _, err := New(context.Background(), nodes[0].config()); err == nil {
			t.Error("a cell was started twice on one host")
		}
		others[0].Join([]peer.AddrInfo{nodes[1].info()})
		await(t, time.Second, "both cells", func() bool { return len(others[1].Members()) == 2 && agree(nodes) })
		others[0].Close()
		await(t, 6*time.Second, "one cell ends, the other stays", func() bool { return len(others[1].Members()) == 1 })
		if !agree(nodes) {
			t.Error("the end of one cell was taken for that of another")
		}
	})
}

func TestFreshConnectionProvesLife(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(2)
		defer stopAll(nodes)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := nodes[0].redial(ctx, nodes[1].info()); err != nil {
			t.Error(err)
		}
		nodes[1].Gossip.Close() // the host lives on, the machine does not
		if err := nodes[0].redial(ctx, nodes[1].info()); err == nil {
			t.Error("a host without the cell counts as alive")
		}
	})
}

func TestClosedGossipSaysSo(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n := l.node()
		n.gossip()
		defer n.stop()
		for range 2 {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := n.Leave(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("Leave: %v", err)
		}
		if err := n.Watch(context.Background(), func([]Event) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("Watch: %v", err)
		}
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		n, o := l.node(), l.node()
		defer stopAll([]*node{n, o})
		for name, change := range map[string]func(*Config){
			"no host":        func(c *Config) { c.Host = nil },
			"no record":      func(c *Config) { c.Record = nil },
			"another cell":   func(c *Config) { c.Cell = otherCell },
			"another's key":  func(c *Config) { c.Key = o.key },
			"another's host": func(c *Config) { c.Host = o.host },
			"bad profile":    func(c *Config) { c.Profile = Profile{Rings: 3} },
		} {
			cfg := n.config()
			change(&cfg)
			if g, err := New(context.Background(), cfg); err == nil {
				g.Close()
				t.Errorf("%s: accepted", name)
			}
		}
	})
}

// TestRealSockets runs a small cell on loopback, in real time.
func TestRealSockets(t *testing.T) {
	var nodes []*node
	for range 3 {
		key := newKey(t)
		h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
			libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(), libp2p.DisableRelay())
		if err != nil {
			t.Fatal(err)
		}
		n := &node{l: &lab{t: t}, host: h, key: key}
		defer n.stop()
		nodes = append(nodes, n)
		n.gossip(nodes[0])
	}
	await(t, 5*time.Second, "all know all", func() bool { return agree(nodes) })
	if err := nodes[2].Leave(context.Background()); err != nil {
		t.Error(err)
	}
	await(t, time.Second, "the leaver is gone", func() bool { return agree(nodes[:2]) })
}
