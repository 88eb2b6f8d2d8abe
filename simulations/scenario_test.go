package simulations

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

func TestLeaverIsGoneWithinOneSecond(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 8, 17, 40} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			w := NewWorld(uint64(n), gossip.WAN())
			anywhere(w, 0)
			w.KeepEvents = true
			settle(t, w, n)
			leaver := w.nodes[n/2]
			leaver.Leave()
			took := gone(t, w, leaver, time.Second)
			w.Run(30 * time.Second)
			mustAgree(t, w)
			for _, o := range w.nodes {
				for _, e := range o.Events {
					if e.Kind == gossip.Dead {
						t.Errorf("the leaver counts as dead at %d", o.Index)
					}
				}
			}
			t.Log(took)
		})
	}
}

func TestNewcomerIsKnownEverywhereWithinASecond(t *testing.T) {
	t.Parallel()
	w := NewWorld(64, gossip.WAN())
	anywhere(w, 0)
	settle(t, w, 63)
	w.Add().Start(w.nodes[17])
	t.Log(agree(t, w, 2*time.Second))
}

func TestNodesThatStartTogetherFindEachOther(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		w := NewWorld(seed, gossip.LAN())
		w.Begin(64)
		took, sent := agree(t, w, 5*time.Second), w.Sum()
		t.Logf("after %s, %d frames, %d B, %d signatures checked", took, sent.Frames, sent.Bytes, w.verifier.Checked())
	}
}

// TestIdleCostIsConstant holds the detector to two frames a second, whatever the size of the cell.
func TestIdleCostIsConstant(t *testing.T) {
	t.Parallel()
	for _, n := range []int{8, 17, 32} {
		w := NewWorld(uint64(n), gossip.LAN())
		settle(t, w, n)
		before := w.Sum()
		const seconds = 30
		w.Run(seconds * time.Second)
		after := w.Sum()
		perFrame := float64(after.Frames-before.Frames) / float64(n*seconds)
		t.Logf("N=%d: %.2f frames and %.1f B a node and second", n, perFrame, float64(after.Bytes-before.Bytes)/float64(n*seconds))
		if perFrame > 2.3 {
			t.Errorf("N=%d: %.2f frames a node and second, want 2 and a little anti-entropy", n, perFrame)
		}
	}
}

// TestLossCostsAMemberTheSameInEveryCell: at 40 % members are suspected all the time, and each settles that with its observers.
func TestLossCostsAMemberTheSameInEveryCell(t *testing.T) {
	t.Parallel()
	cost := func(n int) float64 {
		w := NewWorld(uint64(n), gossip.WAN())
		anywhere(w, 0.4)
		w.Populate(n)
		w.Run(time.Minute)
		before := w.Sum().Bytes
		const seconds = 120
		w.Run(seconds * time.Second)
		return float64(w.Sum().Bytes-before) / float64(n*seconds)
	}
	small, large := cost(32), cost(128)
	t.Logf("%.0f B a node and second in a cell of 32, %.0f in one of 128", small, large)
	if large > 1.25*small {
		t.Errorf("%.0f B a node and second in a cell of 128, %.0f in one of 32", large, small)
	}
}

func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ n, small int }{{3, 1}, {8, 4}, {20, 10}, {20, 3}} {
		t.Run(fmt.Sprintf("%d of %d", tt.small, tt.n), func(t *testing.T) {
			w := NewWorld(uint64(tt.n), gossip.WAN())
			anywhere(w, 0)
			settle(t, w, tt.n)
			apart := true
			w.Cut = func(a, b *Node) bool { return apart && (a.Index < tt.small) != (b.Index < tt.small) }
			w.Run(time.Minute)
			if got := w.nodes[0].m.Len(); got != tt.small {
				t.Errorf("the small part lists %d", got)
			}
			apart = false
			t.Log(agree(t, w, time.Minute))
		})
	}
}

// Each half of a cell that was cut in two knows of everybody in the other. When they meet again they must not all greet
// each other: streams would grow with the cell, and what is sent along them with its square.
func TestHalvesThatMeetAgainKeepTheirLinks(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of members for minutes of their time")
	}
	t.Parallel()
	const n = 128
	w := NewWorld(1, gossip.WAN())
	w.Links(50 * time.Millisecond)
	w.Populate(n)
	w.Run(20 * time.Second)
	apart := true
	w.Cut = func(a, b *Node) bool { return apart && (a.Index < n/2) != (b.Index < n/2) }
	w.Run(time.Minute)
	apart = false
	most, met := 0, w.Now()
	for w.Now().Sub(met) < 15*time.Second && !w.Agreed() {
		w.Run(100 * time.Millisecond)
		streams := 0
		for _, node := range w.nodes {
			streams += len(node.streams)
		}
		most = max(most, streams/n)
	}
	if err := w.Agree(0); err != nil {
		t.Error(err)
	}
	t.Logf("after %s, up to %d streams a node", w.Now().Sub(met), most)
	if most >= n/2 {
		t.Errorf("up to %d streams a node, as many as half the cell", most)
	}
}

func TestRestartStorm(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		for _, n := range []int{8, 24} {
			t.Run(fmt.Sprintf("N=%d silent=%v", n, silent), func(t *testing.T) {
				w := NewWorld(uint64(n), gossip.WAN())
				anywhere(w, 0.05)
				settle(t, w, n)
				for i := range n / 3 {
					w.After(time.Duration(w.Rand.Int64N(int64(10*time.Second))), func() { w.restart(w.nodes[3*i], silent) })
				}
				w.Run(40 * time.Second)
				mustAgree(t, w)
				mustHaveNoFalseDeath(t, w)
			})
		}
	}
}

// restart ends a node and starts it again within two seconds.
func (w *World) restart(n *Node, silent bool) {
	if silent {
		n.Crash()
	} else {
		n.Stop()
	}
	other := w.nodes[(n.Index+1)%len(w.nodes)]
	w.After(time.Duration(w.Rand.Int64N(int64(2*time.Second))), func() { n.Start(other) })
}

func TestPausedMembersSurvive(t *testing.T) {
	t.Parallel()
	w := NewWorld(5, gossip.WAN())
	anywhere(w, 0.05)
	settle(t, w, 24)
	for i := range 4 {
		w.pauseAgainAndAgain(w.nodes[6*i])
	}
	w.Run(3 * time.Minute)
	mustHaveNoFalseDeath(t, w)
}

func (w *World) pauseAgainAndAgain(n *Node) {
	n.Pause(time.Second)
	w.After(3*time.Second+time.Duration(w.Rand.Int64N(int64(5*time.Second))), func() { w.pauseAgainAndAgain(n) })
}

// TestBusyMachinesArePatient is about members that wait up to a third of a second for each turn on a processor: nobody is suspected,
// and no fresh connection is made, which would be more work for machines that have too much.
func TestBusyMachinesArePatient(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 8} {
		w := NewWorld(16, gossip.LAN())
		w.KeepEvents = true
		settle(t, w, n)
		for _, o := range w.nodes {
			o.Busy = 350 * time.Millisecond
		}
		w.Run(20 * time.Minute)
		mustHaveNoFalseDeath(t, w)
		for _, o := range w.nodes {
			if slices.ContainsFunc(o.Events, func(e Event) bool { return e.Kind == gossip.Suspected }) {
				t.Errorf("N=%d: node %d suspected somebody", n, o.Index)
			}
		}
		if w.Redials > 0 {
			t.Errorf("N=%d: %d fresh connections", n, w.Redials)
		}
	}
}

func TestHungMemberIsPrunedAndComesBack(t *testing.T) {
	w := NewWorld(6, gossip.LAN())
	settle(t, w, 8)
	hung := w.nodes[3]
	hung.Pause(20 * time.Second) // its sockets stay open
	gone(t, w, hung, 5*time.Second)
	w.Run(16 * time.Second)
	agree(t, w, 15*time.Second)
}

func TestDeadLinksKillNobody(t *testing.T) {
	t.Parallel()
	w := NewWorld(9, gossip.WAN())
	anywhere(w, 0)
	settle(t, w, 24)
	dead := make(map[[2]int]bool)
	for range 24 * 24 / 50 { // 2 % of the directed pairs
		dead[[2]int{w.Rand.IntN(24), w.Rand.IntN(24)}] = true
	}
	w.Cut = func(a, b *Node) bool { return dead[[2]int{a.Index, b.Index}] }
	w.Run(3 * time.Minute)
	mustHaveNoFalseDeath(t, w)
	mustAgree(t, w)
}

func TestLossKillsNobody(t *testing.T) {
	t.Parallel()
	for _, loss := range []float64{0.05, 0.2} {
		w := NewWorld(7, gossip.WAN())
		anywhere(w, loss)
		settle(t, w, 24)
		w.Run(4 * time.Minute)
		mustHaveNoFalseDeath(t, w)
		mustAgree(t, w)
	}
}

func TestTwoCellsThatLearnOfEachOtherMerge(t *testing.T) {
	w := NewWorld(10, gossip.LAN())
	for i := range 30 {
		n := w.Add()
		if i < 2 {
			n.Start()
		} else {
			n.Start(w.nodes[i%2])
		}
	}
	w.Run(10 * time.Second)
	if got := w.nodes[0].m.Len(); got != 15 {
		t.Fatalf("half a cell lists %d, want 15", got)
	}
	w.nodes[4].Join(w.nodes[7])
	agree(t, w, 2*time.Second)
}

func TestNodeWithAnOldClockJumpsAboveItsEarlierLife(t *testing.T) {
	w := NewWorld(11, gossip.LAN())
	w.KeepEvents = true
	settle(t, w, 8)
	n := w.nodes[2]
	before := n.m.Self().Incarnation
	n.Stop()
	w.Run(10 * time.Second)
	n.StartAs(before-1000, w.nodes[0])
	agree(t, w, 2*time.Second)
	if n.m.Self().Incarnation <= before {
		t.Errorf("incarnation %d, want above %d", n.m.Self().Incarnation, before)
	}
	w.Run(time.Minute)
	if n.twins() > 0 {
		t.Error("its earlier life is taken for another process")
	}
}

// TestOneKeyMayRestartAHundredTimes restarts a node every second, by turns with a goodbye and without, and with a clock that
// is sometimes behind.
func TestOneKeyMayRestartAHundredTimes(t *testing.T) {
	t.Parallel()
	w := NewWorld(16, gossip.LAN())
	w.KeepEvents = true
	settle(t, w, 8)
	n := w.nodes[2]
	for i := range 100 {
		switch i % 3 {
		case 0:
			n.Leave()
		case 1:
			n.Stop()
		case 2:
			n.Crash()
		}
		w.Run(time.Second)
		n.StartAs(uint64(w.now.UnixMilli())-uint64(i%7*300), w.nodes[i%2])
		agree(t, w, time.Second)
	}
	if n.twins() > 0 {
		t.Error("its earlier lives are taken for another process")
	}
	mustHaveNoFalseDeath(t, w)
}

func TestAllRestartedAtOnceFindEachOther(t *testing.T) {
	t.Parallel()
	w := NewWorld(17, gossip.WAN())
	anywhere(w, 0.05)
	settle(t, w, 64)
	for _, n := range w.nodes {
		n.Crash()
	}
	w.Run(time.Second)
	for i, n := range w.nodes {
		n.Start(w.nodes[(i+1)%64], w.nodes[(i+7)%64]) // those of its cache
	}
	t.Log(agree(t, w, 5*time.Second))
}

func TestLeaverComesBackOnlyWithANewIncarnation(t *testing.T) {
	w := NewWorld(12, gossip.LAN())
	settle(t, w, 8)
	n := w.nodes[2]
	old := n.m.Self()
	n.Leave()
	w.Run(time.Second)
	o := w.nodes[5]
	o.input(func() { o.m.Receive(w.now, w.nodes[1].ID, &gossip.Push{Records: [][]byte{old.Envelope}}) })
	w.Run(time.Minute)
	mustAgree(t, w)
	n.Start(w.nodes[0])
	agree(t, w, time.Second)
}

// known is the record by which a node knows another one.
func (n *Node) known(t testing.TB, o *Node) *record.Signed {
	t.Helper()
	member, ok := n.m.Member(o.ID)
	if !ok {
		t.Fatalf("node %d does not list node %d", n.Index, o.Index)
	}
	return member.Record
}

func TestHealthIsKnownEverywhere(t *testing.T) {
	w := NewWorld(13, gossip.LAN())
	settle(t, w, 20)
	n := w.nodes[2]
	n.input(func() { n.m.SetState(w.now, record.Unhealthy) })
	w.Run(time.Second)
	for _, o := range w.nodes {
		if got := o.known(t, n).State; got != record.Unhealthy {
			t.Errorf("node %d knows %s", o.Index, got)
		}
	}
}

func TestExpiredRecordIsForgotten(t *testing.T) {
	patient := gossip.LAN()
	patient.Doubt, patient.Lone = 48*time.Hour, 48*time.Hour
	w := NewWorld(14, patient)
	w.KeepEvents = true
	settle(t, w, 2)
	n, o := w.nodes[0], w.nodes[1]
	w.Cut = func(a, b *Node) bool { return true }
	w.Skip(record.Validity + record.Leeway + time.Minute)
	o.Input(func(now time.Time, m *gossip.Machine) { m.Tick(now) })
	if last := o.Events[len(o.Events)-1]; o.Lists(n) || last.Kind != gossip.Expired {
		t.Errorf("listed: %v, last event %s", o.Lists(n), last.Kind)
	}
}

// TestRunsAreReplayed is what makes a failure in a simulation worth having.
func TestRunsAreReplayed(t *testing.T) {
	t.Parallel()
	run := func() (trace []string) {
		w := NewWorld(15, gossip.WAN())
		anywhere(w, 0.1)
		w.Trace = func(from, to *Node, m gossip.Message) {
			trace = append(trace, fmt.Sprintf("%d %d %d %T", w.now.UnixNano(), from.Index, to.Index, m))
		}
		settle(t, w, 24)
		w.nodes[3].Crash()
		w.Run(20 * time.Second)
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
