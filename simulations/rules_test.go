package simulations

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// accusation is a certificate against a victim with a vote of each voter, and a way to deliver it.
type accusation struct {
	w      *World
	victim *Node
	c      *gossip.Certificate
}

func accuse(w *World, victim *Node, voters ...*Node) *accusation {
	rec := victim.m.Self()
	a := &accusation{w, victim, &gossip.Certificate{Subject: victim.ID, Version: victim.version(), Expires: rec.Expires}}
	for _, v := range voters {
		a.vote(v, 0)
	}
	return a
}

func (a *accusation) vote(voter *Node, waited time.Duration) {
	v, err := gossip.SignVote(voter.Key, voter.ID, Cell, a.victim.ID, a.c.Version, a.w.now, waited)
	if err != nil {
		panic(err) // a key in memory signs
	}
	a.c.Votes = append(a.c.Votes, v)
}

// deliver hands the certificate to a node, as a neighbour does.
func (a *accusation) deliver(n, from *Node) {
	n.input(func() { n.m.Receive(a.w.now, from.ID, &gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}}) })
}

// condemns reports whether every node but the victim, which hears of nothing and so cannot refute, has dropped it at the
// end of the window. By their own probes they could not have done so yet.
func (a *accusation) condemns() bool {
	w := a.w
	w.Cut = func(from, to *Node) bool { return from == a.victim || to == a.victim }
	w.Run(w.Profile.Window + 50*time.Millisecond)
	return w.Listers(a.victim) == 0
}

// apart accuses by two votes, and by two more a while later.
func apart(d time.Duration) func(w *World) *accusation {
	return func(w *World) *accusation {
		w.Skip(-d)
		a := accuse(w, w.nodes[7], w.nodes[1:3]...)
		w.Skip(d)
		a.vote(w.nodes[3], 0)
		a.vote(w.nodes[4], 0)
		return a
	}
}

func TestOnlySufficientCertificatesCondemn(t *testing.T) {
	for name, tt := range map[string]struct {
		build func(w *World) *accusation
		want  bool
	}{
		"four voters of eight": {func(w *World) *accusation { return accuse(w, w.nodes[7], w.nodes[1:5]...) }, true},
		"two voters":           {func(w *World) *accusation { return accuse(w, w.nodes[7], w.nodes[1:3]...) }, false},
		"one voter four times": {func(w *World) *accusation {
			return accuse(w, w.nodes[7], w.nodes[1], w.nodes[1], w.nodes[1], w.nodes[1])
		}, false},
		"the subject among them": {func(w *World) *accusation {
			return accuse(w, w.nodes[7], w.nodes[7], w.nodes[1], w.nodes[2])
		}, false},
		"strangers": {func(w *World) *accusation {
			return accuse(w, w.nodes[7], w.Add(), w.Add(), w.Add(), w.Add())
		}, false},
		"a changed claim": {func(w *World) *accusation {
			a := accuse(w, w.nodes[7], w.nodes[1], w.nodes[2])
			a.c.Votes[0].Waited, a.c.Votes[1].Waited = time.Minute, time.Minute
			return a
		}, false},
		"votes against another": {func(w *World) *accusation {
			a := accuse(w, w.nodes[6], w.nodes[1:5]...)
			a.c.Subject, a.victim = w.nodes[7].ID, w.nodes[7]
			return a
		}, false},
		"votes from the future": {func(w *World) *accusation {
			w.Skip(time.Hour)
			a := accuse(w, w.nodes[7], w.nodes[1:5]...)
			w.Skip(-time.Hour)
			return a
		}, false},
		"votes made ten seconds apart":        {apart(10 * time.Second), true},
		"votes of ten minutes ago among them": {apart(10 * time.Minute), false},
		"an older record": {func(w *World) *accusation {
			a := accuse(w, w.nodes[7], w.nodes[1:5]...)
			n := w.nodes[7]
			n.input(func() { n.m.Update(w.now, n.m.Self()) })
			w.Run(time.Second)
			return a
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(1, gossip.LAN())
			settle(t, w, 8)
			a := tt.build(w)
			a.deliver(w.nodes[0], w.nodes[1])
			if got := a.condemns(); got != tt.want {
				t.Errorf("dropped by all: %v, want %v; %d list it", got, tt.want, w.Listers(a.victim))
			}
		})
	}
}

func TestCutOffMemberKeepsItsList(t *testing.T) {
	w := NewWorld(4, gossip.LAN())
	w.KeepEvents = true
	settle(t, w, 8)
	alone := w.nodes[3]
	cut := true
	w.Cut = func(a, b *Node) bool { return cut && (a == alone || b == alone) }
	gone(t, w, alone, 5*time.Second)
	w.Run(15 * time.Second)
	if got := alone.m.Len(); got != 8 {
		t.Errorf("it lists %d of 8 while it hears nobody", got)
	}
	for _, e := range alone.Events {
		if e.Kind == gossip.Suspected {
			t.Errorf("it suspects others: %s", e.At.Sub(Start))
		}
	}
	cut = false
	agree(t, w, 20*time.Second)
}

func TestLastOneStandingDropsTheDead(t *testing.T) {
	for _, n := range []int{3, 8} {
		w := NewWorld(5, gossip.LAN())
		settle(t, w, n)
		for _, o := range w.nodes[1:] {
			o.Crash()
		}
		p, start := gossip.LAN(), w.now
		if !w.Until(p.Doubt+2*p.Lone, func() bool { return w.nodes[0].m.Len() == 1 }) {
			t.Errorf("N=%d: the last member still lists %d after %s", n, w.nodes[0].m.Len(), w.now.Sub(start))
		}
		if took := w.now.Sub(start); n == 8 && took < p.Doubt { // three who are silent at once are needed for a doubt
			t.Errorf("it blamed the others after %s, want its own network blamed for %s", took, p.Doubt)
		}
	}
}

func TestHalfOfACellMayCrashAtOnce(t *testing.T) {
	for _, n := range []int{8, 24} {
		w := NewWorld(6, gossip.LAN())
		settle(t, w, n)
		for _, o := range w.nodes[:n/2] {
			o.Crash()
		}
		start := w.now
		agree(t, w, time.Minute)
		t.Logf("N=%d: %s", n, w.now.Sub(start))
	}
}

func TestRefutedSuspectStaysListed(t *testing.T) {
	w := NewWorld(8, gossip.LAN())
	w.KeepEvents = true
	settle(t, w, 8)
	victim := w.nodes[7]
	a := accuse(w, victim, w.nodes[1:5]...)
	a.deliver(w.nodes[0], w.nodes[1])
	w.Run(5 * time.Second)
	mustAgree(t, w)
	mustHaveNoFalseDeath(t, w)
	var kinds []gossip.Kind
	for _, e := range w.nodes[0].Events {
		if e.Member.Record.Peer == victim.ID {
			kinds = append(kinds, e.Kind)
		}
	}
	if !slices.Equal(kinds, []gossip.Kind{gossip.Joined, gossip.Suspected, gossip.Refuted}) {
		t.Errorf("events %v", kinds)
	}
}

// TestAVoteIsAnsweredToTheObserversAlone: nobody else holds votes that a proof of life would void.
func TestAVoteIsAnsweredToTheObserversAlone(t *testing.T) {
	w := NewWorld(14, gossip.LAN())
	settle(t, w, 40)
	victim := w.nodes[7]
	observers := victim.m.Observers(victim.ID)
	before := victim.version()
	told := make(map[peer.ID]int)
	w.Trace = func(from, to *Node, m gossip.Message) {
		if ack, ok := m.(*gossip.Ack); ok && from == victim && ack.ID == 0 && ack.Next == 0 {
			told[to.ID]++
		}
	}
	vote := func(by peer.ID) {
		victim.input(func() { victim.m.Receive(w.now, by, &gossip.Ping{ID: 1, Voted: &before}) })
		w.Run(10 * time.Millisecond)
	}
	other := slices.IndexFunc(victim.m.Neighbours(), func(id peer.ID) bool { return !victim.m.Accepts(id, victim.ID) })
	if vote(victim.m.Neighbours()[other]); len(told) != 0 {
		t.Errorf("%d were told of a vote that counts nowhere", len(told))
	}
	vote(observers[0])
	vote(observers[1]) // one answer is enough for a while
	for _, o := range observers {
		if told[o] != 1 {
			t.Errorf("an observer was told %d times", told[o])
		}
	}
	if len(told) != len(observers) {
		t.Errorf("%d were told, of %d observers", len(told), len(observers))
	}
	if victim.version() != before {
		t.Error("everybody has to learn of a new record")
	}
}

func TestNobodyIsHeardBeforeAHello(t *testing.T) {
	w := NewWorld(9, gossip.LAN())
	settle(t, w, 2)
	stranger := w.Add()
	n := w.nodes[0]
	rec := stranger.Record(uint64(w.now.UnixMilli()))
	n.input(func() { n.m.Receive(w.now, stranger.ID, &gossip.Push{Records: [][]byte{rec.Envelope}}) })
	if n.m.Len() != 2 {
		t.Error("a peer was heard without a Hello")
	}
}

// strikes is how many worthless signatures a neighbour may send at once.
const strikes = 32

func TestWorthlessNeighbourIsShutOut(t *testing.T) {
	w := NewWorld(10, gossip.LAN())
	settle(t, w, 3)
	n, bad := w.nodes[0], w.nodes[1]
	rec := slices.Clone(bad.m.Self().Envelope)
	var refused []peer.ID
	for i := range strikes + 2 {
		rec[len(rec)-1] = byte(i) // another wrong signature each time
		n.m.Receive(w.now, bad.ID, &gossip.Push{Records: [][]byte{rec}})
		refused = append(refused, n.m.Take().Refuses...)
	}
	if !slices.Contains(refused, bad.ID) {
		t.Error("never refused")
	}
	if checked := w.verifier.Checked(); checked > 3+strikes+10 {
		t.Errorf("%d signatures computed", checked)
	}
}

// TestWhoPassesOnRecordsOfAFastClockIsNotShutOut: others, whose clocks differ, may take them.
func TestWhoPassesOnRecordsOfAFastClockIsNotShutOut(t *testing.T) {
	w := NewWorld(21, gossip.LAN())
	settle(t, w, 3)
	n, by, fast := w.nodes[0], w.nodes[1], w.nodes[2]
	in := fast.m.Self().Instance
	in.Issued, in.Expires = w.now.Add(time.Hour), w.now.Add(2*time.Hour)
	for range 2 * strikes {
		in.Seq++
		rec, err := record.Sign(fast.Key, in)
		if err != nil {
			t.Fatal(err)
		}
		n.m.Receive(w.now, by.ID, &gossip.Push{Records: [][]byte{rec.Envelope}})
		if refused := n.m.Take().Refuses; len(refused) > 0 {
			t.Fatalf("%d neighbours are shut out", len(refused))
		}
	}
	if member, _ := n.m.Member(fast.ID); member.Record.Seq == in.Seq {
		t.Error("it takes them itself")
	}
}

// TestDeadAreGreetedRarely bounds what a cell sends to an address where nobody is any more.
func TestDeadAreGreetedRarely(t *testing.T) {
	w := NewWorld(11, gossip.LAN())
	settle(t, w, 24)
	dead := w.nodes[5]
	dead.Crash()
	w.Run(10 * time.Minute)
	dials := 0
	for _, n := range w.nodes {
		dials += n.Dials[dead.ID]
	}
	if dials > 240 {
		t.Errorf("%d dials to a dead member in ten minutes", dials)
	}
	t.Logf("%d dials in ten minutes", dials)
}

// TestAbsurdAccusationIsNotFollowed: memberlist can be made to count its incarnation up to where it overflows.
func TestAbsurdAccusationIsNotFollowed(t *testing.T) {
	w := NewWorld(12, gossip.LAN())
	settle(t, w, 3)
	n, bad := w.nodes[0], w.nodes[1]
	before := n.version()
	absurd := gossip.Version{Incarnation: 1 << 61, Seq: 1 << 63}
	c := &gossip.Certificate{Subject: n.ID, Version: absurd, Expires: w.now.Add(time.Hour)}
	a := &accusation{w, n, c}
	a.vote(bad, 0)
	for _, m := range []gossip.Message{&gossip.Ping{ID: 1, Voted: &absurd}, &gossip.Push{Deaths: []gossip.Death{{Certificate: c}}}} {
		n.input(func() { n.m.Receive(w.now, bad.ID, m) })
	}
	if n.version() != before {
		t.Errorf("version %v, was %v", n.version(), before)
	}
}

// TestCertifiedNodeWithAnOldClockComesBack: its earlier life is certified dead at a higher incarnation than its own.
func TestCertifiedNodeWithAnOldClockComesBack(t *testing.T) {
	w := NewWorld(13, gossip.LAN())
	settle(t, w, 8)
	n := w.nodes[2]
	before := n.m.Self().Incarnation
	n.Crash()
	gone(t, w, n, 5*time.Second)
	w.Run(5 * time.Second)
	n.StartAs(before-1000, w.nodes[0])
	agree(t, w, 5*time.Second)
	if n.m.Self().Incarnation != before+1 {
		t.Errorf("incarnation %d, want %d", n.m.Self().Incarnation, before+1)
	}
}

// twins counts how often a node was told that another process has its key.
func (n *Node) twins() int {
	count := 0
	for _, e := range n.Events {
		if e.Kind == gossip.Twin {
			count++
		}
	}
	return count
}

func TestTwoProcessesWithOneKeyDoNotFloodForEver(t *testing.T) {
	w := NewWorld(14, gossip.LAN())
	w.KeepEvents = true
	settle(t, w, 3)
	n := w.nodes[0]
	for i := range uint64(100) {
		in := n.m.Self().Instance
		in.Seq += 1 + i
		twin, err := record.Sign(n.Key, in)
		if err != nil {
			t.Fatal(err)
		}
		n.input(func() { n.m.Receive(w.now, w.nodes[1].ID, &gossip.Push{Records: [][]byte{twin.Envelope}}) })
		w.Run(10 * time.Millisecond)
	}
	if seq := n.m.Self().Seq; seq > 100 {
		t.Errorf("seq %d", seq)
	}
	if got := n.twins(); got != 1 {
		t.Errorf("the other process is named %d times within a second, want once", got)
	}
}

func TestTurningRingLosesNobodyAndHidesNobody(t *testing.T) {
	t.Parallel()
	w := NewWorld(15, gossip.LAN())
	w.Skip(88 * time.Minute)
	settle(t, w, 24)
	w.Run(time.Date(2026, 11, 22, 14, 59, 58, 0, time.UTC).Sub(w.now))
	w.nodes[5].Crash() // the ring turns while it is being noticed
	gone(t, w, w.nodes[5], 5*time.Second)
	w.Run(2 * time.Minute)
	w.nodes[6].Crash()
	gone(t, w, w.nodes[6], 5*time.Second)
	mustAgree(t, w)
	mustHaveNoFalseDeath(t, w)
}
