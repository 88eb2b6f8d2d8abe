package gossip

import (
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// wan gives every pair of nodes its own one-way latency between 10 and 150 ms.
func (w *world) wan(loss float64) {
	w.loss = loss
	w.latency = func(a, b *modelNode) time.Duration {
		h := fnv.New32a()
		fmt.Fprint(h, min(a.index, b.index), max(a.index, b.index))
		return 10*time.Millisecond + time.Duration(h.Sum32()%140)*time.Millisecond
	}
}

// falseDeaths counts Dead events that were wrong: about the very life of a node that was up.
func (w *world) falseDeaths() int {
	count := 0
	for _, n := range w.nodes {
		for _, e := range n.events {
			o := w.byID[e.Member.Record.Peer]
			if e.Kind == Dead && o.up && o.m.own.Incarnation == e.Member.Record.Incarnation {
				count++
			}
		}
	}
	return count
}

func (w *world) mustHaveNoFalseDeath() {
	w.t.Helper()
	if n := w.falseDeaths(); n > 0 {
		w.t.Errorf("%d live members were listed as dead", n)
	}
}

func TestLeaverIsGoneWithinOneSecond(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 8, 17, 40} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			w := newWorld(t, uint64(n), WAN())
			w.wan(0)
			w.cell(n)
			leaver := w.nodes[n/2]
			leaver.input(func() { leaver.m.Leave(w.now) })
			w.after(500*time.Millisecond, leaver.stop)
			took := w.gone(leaver, time.Second)
			w.run(30 * time.Second)
			w.mustAgree()
			for _, o := range w.nodes {
				for _, e := range o.events {
					if e.Kind == Dead {
						t.Errorf("the leaver counts as dead at %d", o.index)
					}
				}
			}
			t.Log(took)
		})
	}
}

func TestNewcomerIsKnownEverywhereWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 64, WAN())
	w.wan(0)
	w.cell(63)
	n := w.add()
	n.start(w.nodes[17])
	start := w.now
	if !w.runUntil(start.Add(2*time.Second), w.agreed) {
		t.Fatal("the newcomer is not known everywhere")
	}
	t.Log(w.now.Sub(start))
}

func TestNodesThatStartTogetherFindEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 40, LAN())
	for i := range 40 {
		n := w.add()
		if i == 0 {
			n.start()
		} else {
			n.start(w.nodes[0])
		}
	}
	start := w.now
	if !w.runUntil(start.Add(2*time.Second), w.agreed) {
		w.mustAgree()
	}
	t.Logf("after %s, %d frames, %d B, %d signatures checked", w.now.Sub(start), w.frames, w.bytes, w.verifier.Checked())
}

// TestIdleCostIsConstant holds the detector to two frames a second, whatever the size of the cell.
func TestIdleCostIsConstant(t *testing.T) {
	t.Parallel()
	for _, n := range []int{8, 17, 32} {
		w := newWorld(t, uint64(n), LAN())
		w.cell(n)
		frames, bytes := w.frames, w.bytes
		const seconds = 30
		w.run(seconds * time.Second)
		perFrame := float64(w.frames-frames) / float64(n*seconds)
		t.Logf("N=%d: %.2f frames and %.1f B a node and second", n, perFrame, float64(w.bytes-bytes)/float64(n*seconds))
		if perFrame > 2.3 {
			t.Errorf("N=%d: %.2f frames a node and second, want 2 and a little anti-entropy", n, perFrame)
		}
	}
}

func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ n, small int }{{3, 1}, {8, 4}, {20, 10}, {20, 3}} {
		t.Run(fmt.Sprintf("%d of %d", tt.small, tt.n), func(t *testing.T) {
			w := newWorld(t, uint64(tt.n), WAN())
			w.wan(0)
			w.cell(tt.n)
			apart := true
			w.cut = func(a, b *modelNode) bool { return apart && (a.index < tt.small) != (b.index < tt.small) }
			w.run(time.Minute)
			if got := w.nodes[0].m.rings.len(); got != tt.small {
				t.Errorf("the small part lists %d", got)
			}
			apart = false
			start := w.now
			if !w.runUntil(start.Add(time.Minute), w.agreed) {
				w.mustAgree()
			}
			t.Log(w.now.Sub(start))
		})
	}
}

func TestRestartStorm(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		for _, n := range []int{8, 24} {
			t.Run(fmt.Sprintf("N=%d silent=%v", n, silent), func(t *testing.T) {
				w := newWorld(t, uint64(n), WAN())
				w.wan(0.05)
				w.cell(n)
				for i := range n / 3 {
					w.after(time.Duration(w.rand.Int64N(int64(10*time.Second))), func() { w.restart(w.nodes[3*i], silent) })
				}
				w.run(40 * time.Second)
				w.mustAgree()
				w.mustHaveNoFalseDeath()
			})
		}
	}
}

// restart ends a node and starts it again within two seconds.
func (w *world) restart(n *modelNode, silent bool) {
	if silent {
		n.crash()
	} else {
		n.stop()
	}
	other := w.nodes[(n.index+1)%len(w.nodes)]
	w.after(time.Duration(w.rand.Int64N(int64(2*time.Second))), func() { n.start(other) })
}

func TestPausedMembersSurvive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, WAN())
	w.wan(0.05)
	w.cell(24)
	for i := range 4 {
		w.pauseAgainAndAgain(w.nodes[6*i])
	}
	w.run(3 * time.Minute)
	w.mustHaveNoFalseDeath()
}

func (w *world) pauseAgainAndAgain(n *modelNode) {
	n.pause(time.Second)
	w.after(3*time.Second+time.Duration(w.rand.Int64N(int64(5*time.Second))), func() { w.pauseAgainAndAgain(n) })
}

func TestHungMemberIsPrunedAndComesBack(t *testing.T) {
	w := newWorld(t, 6, LAN())
	w.cell(8)
	hung := w.nodes[3]
	hung.pause(20 * time.Second) // its sockets stay open
	w.gone(hung, 5*time.Second)
	w.run(16 * time.Second)
	if !w.runUntil(w.now.Add(15*time.Second), w.agreed) {
		w.mustAgree()
	}
}

func TestDeadLinksKillNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 9, WAN())
	w.wan(0)
	w.cell(24)
	dead := make(map[[2]int]bool)
	for range 24 * 24 / 50 { // 2 % of the directed pairs
		dead[[2]int{w.rand.IntN(24), w.rand.IntN(24)}] = true
	}
	w.cut = func(a, b *modelNode) bool { return dead[[2]int{a.index, b.index}] }
	w.run(3 * time.Minute)
	w.mustHaveNoFalseDeath()
	w.mustAgree()
}

func TestLossKillsNobody(t *testing.T) {
	t.Parallel()
	for _, loss := range []float64{0.05, 0.2} {
		w := newWorld(t, 7, WAN())
		w.wan(loss)
		w.cell(24)
		w.run(4 * time.Minute)
		w.mustHaveNoFalseDeath()
		w.mustAgree()
	}
}

func TestTwoCellsThatLearnOfEachOtherMerge(t *testing.T) {
	w := newWorld(t, 10, LAN())
	for i := range 30 {
		n := w.add()
		if i < 2 {
			n.start()
		} else {
			n.start(w.nodes[i%2])
		}
	}
	w.run(10 * time.Second)
	if got := w.nodes[0].m.rings.len(); got != 15 {
		t.Fatalf("half a cell lists %d, want 15", got)
	}
	n := w.nodes[4]
	n.input(func() { n.m.Join(w.now, []peer.AddrInfo{{ID: w.nodes[7].id}}) })
	if !w.runUntil(w.now.Add(2*time.Second), w.agreed) {
		w.mustAgree()
	}
}

func TestNodeWithAnOldClockJumpsAboveItsEarlierLife(t *testing.T) {
	w := newWorld(t, 11, LAN())
	w.cell(8)
	n := w.nodes[2]
	before := n.m.own.Incarnation
	n.stop()
	w.run(10 * time.Second)
	n.startAs(before-1000, w.nodes[0])
	if !w.runUntil(w.now.Add(2*time.Second), w.agreed) {
		w.mustAgree()
	}
	if n.m.own.Incarnation <= before {
		t.Errorf("incarnation %d, want above %d", n.m.own.Incarnation, before)
	}
}

func TestLeaverComesBackOnlyWithANewIncarnation(t *testing.T) {
	w := newWorld(t, 12, LAN())
	w.cell(8)
	n := w.nodes[2]
	old := n.m.own
	n.input(func() { n.m.Leave(w.now) })
	w.run(time.Second)
	n.stop()
	o := w.nodes[5]
	o.input(func() { o.m.Receive(w.now, w.nodes[1].id, &Push{Records: [][]byte{old.Envelope}}) })
	w.run(time.Minute)
	w.mustAgree()
	n.start(w.nodes[0])
	if !w.runUntil(w.now.Add(time.Second), w.agreed) {
		w.mustAgree()
	}
}

func TestHealthIsKnownEverywhere(t *testing.T) {
	w := newWorld(t, 13, LAN())
	w.cell(20)
	n := w.nodes[2]
	n.input(func() { n.m.SetState(w.now, record.Unhealthy) })
	w.run(time.Second)
	for _, o := range w.nodes {
		if got := o.m.roster.entries[n.id].record.State; got != record.Unhealthy {
			t.Errorf("node %d knows %s", o.index, got)
		}
	}
}

func TestExpiredRecordIsForgotten(t *testing.T) {
	w := newWorld(t, 14, LAN())
	w.cell(2)
	n, o := w.nodes[0], w.nodes[1]
	w.cut = func(a, b *modelNode) bool { return true }
	o.m.profile.Doubt, o.m.profile.Lone = 48*time.Hour, 48*time.Hour
	w.now = w.now.Add(record.Validity + record.Leeway + time.Minute)
	o.input(func() { o.m.Tick(w.now) })
	if o.m.roster.entries[n.id] != nil {
		t.Error("an expired record is still known")
	}
}

// TestRunsAreReplayed is what makes a failure in a simulation worth having.
func TestRunsAreReplayed(t *testing.T) {
	t.Parallel()
	run := func() (trace []string) {
		w := newWorld(t, 15, WAN())
		w.wan(0.1)
		w.trace = func(from, to *modelNode, m Message) {
			trace = append(trace, fmt.Sprintf("%d %d %d %T", w.now.UnixNano(), from.index, to.index, m))
		}
		w.cell(24)
		w.nodes[3].crash()
		w.run(20 * time.Second)
		return trace
	}
	one, two := run(), run()
	if !slices.Equal(one, two) {
		for i := range one {
			if i >= len(two) || one[i] != two[i] {
				t.Fatalf("frame %d of %d: %s, then %s", i, len(one), one[i], two[min(i, len(two)-1)])
			}
		}
	}
}
