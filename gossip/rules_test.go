package gossip

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

func TestQuorumBySizeOfTheCell(t *testing.T) {
	for n, want := range map[int]int{2: 1, 3: 2, 4: 2, 5: 3, 8: 4, 9: 5, 16: 8, 17: 9, 18: 5, 1000: 5} {
		if got := WAN().quorum(n); got != want {
			t.Errorf("%d members: quorum %d, want %d", n, got, want)
		}
	}
}

func TestQuorumFallsAsSuspicionLasts(t *testing.T) {
	for _, tt := range []struct {
		n      int
		waited time.Duration
		want   int
	}{
		{1000, 0, 5},
		{1000, 2 * time.Second, 5},
		{1000, 3 * time.Second, 4},
		{1000, 9 * time.Second, 2},
		{1000, 29 * time.Second, 2},
		{1000, 30 * time.Second, 1}, // 10 log10 1000
		{8, 0, 4},
		{8, 6 * time.Second, 2},
		{8, 10 * time.Second, 1},
		{3, time.Second, 2},
		{3, 5 * time.Second, 1},
		{2, 0, 1},
	} {
		if got := WAN().votesNeeded(tt.n, tt.waited); got != tt.want {
			t.Errorf("%d members after %s: %d votes, want %d", tt.n, tt.waited, got, tt.want)
		}
	}
}

func TestVotesCountByTheirPatience(t *testing.T) {
	votes := func(waited ...time.Duration) (out []Vote) {
		for _, w := range waited {
			out = append(out, Vote{Waited: w * time.Second})
		}
		return out
	}
	for _, tt := range []struct {
		votes []Vote
		want  bool
	}{
		{votes(0, 0, 0, 0, 0), true},
		{votes(0, 0, 0, 0), false},
		{votes(3, 3, 3, 3), true},
		{votes(3, 3, 3, 2), false}, // the fourth has not waited long enough
		{votes(9, 9, 0), true},
		{votes(9, 8), false},
		{votes(30), true},
		{votes(29), false},
		{nil, false},
	} {
		if got := WAN().enough(1000, tt.votes); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.votes, got, tt.want)
		}
	}
}

// accusation is a certificate against a victim with a vote of each voter, and a way to deliver it.
type accusation struct {
	w      *world
	victim *modelNode
	c      *Certificate
}

func accuse(w *world, victim *modelNode, voters ...*modelNode) *accusation {
	e := w.nodes[0].m.roster.entries[victim.id]
	a := &accusation{w, victim, &Certificate{Subject: victim.id, Version: e.rank.version(), Expires: e.record.Expires}}
	for _, v := range voters {
		a.vote(v, 0)
	}
	return a
}

func (a *accusation) vote(voter *modelNode, waited time.Duration) {
	v, err := signVote(voter.key, voter.id, testCell, a.victim.id, a.c.Version, a.w.now, waited)
	if err != nil {
		a.w.t.Fatal(err)
	}
	a.c.Votes = append(a.c.Votes, v)
}

// condemnsAt reports whether a node takes the certificate from a neighbour.
func (a *accusation) condemnsAt(n, from *modelNode) bool {
	n.input(func() { n.m.Receive(a.w.now, from.id, &Push{Deaths: []Death{{a.c, 0}}}) })
	return n.m.roster.entries[a.victim.id].rank.dead
}

func TestOnlySufficientCertificatesCondemn(t *testing.T) {
	for name, tt := range map[string]struct {
		build func(w *world) *accusation
		want  bool
	}{
		"four voters of eight": {func(w *world) *accusation { return accuse(w, w.nodes[7], w.nodes[1:5]...) }, true},
		"two voters":           {func(w *world) *accusation { return accuse(w, w.nodes[7], w.nodes[1:3]...) }, false},
		"one voter four times": {func(w *world) *accusation {
			return accuse(w, w.nodes[7], w.nodes[1], w.nodes[1], w.nodes[1], w.nodes[1])
		}, false},
		"the subject among them": {func(w *world) *accusation {
			return accuse(w, w.nodes[7], w.nodes[7], w.nodes[1], w.nodes[2])
		}, false},
		"strangers": {func(w *world) *accusation {
			return accuse(w, w.nodes[7], w.add(), w.add(), w.add(), w.add())
		}, false},
		"a changed claim": {func(w *world) *accusation {
			a := accuse(w, w.nodes[7], w.nodes[1], w.nodes[2])
			a.c.Votes[0].Waited, a.c.Votes[1].Waited = time.Minute, time.Minute
			return a
		}, false},
		"votes against another": {func(w *world) *accusation {
			a := accuse(w, w.nodes[6], w.nodes[1:5]...)
			a.c.Subject, a.victim = w.nodes[7].id, w.nodes[7]
			return a
		}, false},
		"votes from the future": {func(w *world) *accusation {
			w.now = w.now.Add(time.Hour)
			a := accuse(w, w.nodes[7], w.nodes[1:5]...)
			w.now = w.now.Add(-time.Hour)
			return a
		}, false},
		"an older record": {func(w *world) *accusation {
			a := accuse(w, w.nodes[7], w.nodes[1:5]...)
			n := w.nodes[7]
			n.input(func() { n.m.Update(w.now, n.m.own) })
			w.run(time.Second)
			return a
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, LAN())
			w.cell(8)
			if got := tt.build(w).condemnsAt(w.nodes[0], w.nodes[1]); got != tt.want {
				t.Errorf("condemned: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestSignaturesHoldForOneThingOnly keeps the kinds, the cells and the subjects apart.
func TestSignaturesHoldForOneThingOnly(t *testing.T) {
	w := newWorld(t, 2, LAN())
	n, o := w.add(), w.add()
	vote := Vote{Voter: n.id, At: w.now}
	all := [][]byte{
		voteBytes(testCell, o.id, Version{1, 2}, &vote), voteBytes(testCell, o.id, Version{2, 1}, &vote),
		voteBytes(otherCell, o.id, Version{1, 2}, &vote), voteBytes(testCell, n.id, Version{1, 2}, &vote),
		aliveBytes(testCell, o.id, Nonce{}), aliveBytes(otherCell, o.id, Nonce{}), aliveBytes(testCell, o.id, Nonce{1}),
	}
	for i, data := range all {
		sig, err := n.key.Sign(data)
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range all {
			if got := w.verifier.signature(n.id, other, sig); got != (i == j) {
				t.Errorf("signature over %d holds for %d: %v", i, j, got)
			}
		}
	}
}

func TestVerifierComputesEachSignatureOnce(t *testing.T) {
	w := newWorld(t, 3, LAN())
	n := w.add()
	rec := n.record(uint64(w.now.UnixMilli()))
	for range 5 {
		if _, err := w.verifier.record(rec.Envelope, testCell, w.now); err != nil {
			t.Fatal(err)
		}
	}
	if w.verifier.Checked() != 1 {
		t.Errorf("%d signatures computed for one record", w.verifier.Checked())
	}
	if _, err := w.verifier.record(rec.Envelope, otherCell, w.now); err == nil {
		t.Error("a record of one cell was taken for another")
	}
	if _, err := w.verifier.record(rec.Envelope, testCell, w.now.Add(record.Validity+record.Leeway+time.Second)); err == nil {
		t.Error("a known record was taken after its end")
	}
}

func TestCutOffMemberKeepsItsList(t *testing.T) {
	w := newWorld(t, 4, LAN())
	w.cell(8)
	alone := w.nodes[3]
	cut := true
	w.cut = func(a, b *modelNode) bool { return cut && (a == alone || b == alone) }
	w.gone(alone, 5*time.Second)
	w.run(15 * time.Second)
	if got := alone.m.rings.len(); got != 8 {
		t.Errorf("it lists %d of 8 while it hears nobody", got)
	}
	for _, e := range alone.events {
		if e.Kind == Suspected {
			t.Errorf("it suspects others: %s", e.at.Sub(worldStart))
		}
	}
	cut = false
	if !w.runUntil(w.now.Add(20*time.Second), w.agreed) {
		w.mustAgree()
	}
}

func TestLastOneStandingDropsTheDead(t *testing.T) {
	for _, n := range []int{3, 8} {
		w := newWorld(t, 5, LAN())
		w.cell(n)
		for _, o := range w.nodes[1:] {
			o.crash()
		}
		w.run(LAN().Doubt + LAN().loneAfter(n) + 10*time.Second)
		if got := w.nodes[0].m.rings.len(); got != 1 {
			t.Errorf("N=%d: the last member still lists %d", n, got)
		}
	}
}

func TestHalfOfACellMayCrashAtOnce(t *testing.T) {
	for _, n := range []int{8, 24} {
		w := newWorld(t, 6, LAN())
		w.cell(n)
		for _, o := range w.nodes[:n/2] {
			o.crash()
		}
		start := w.now
		if !w.runUntil(start.Add(time.Minute), w.agreed) {
			w.mustAgree()
		}
		t.Logf("N=%d: %s", n, w.now.Sub(start))
	}
}

func TestRefutedSuspectStaysListed(t *testing.T) {
	w := newWorld(t, 8, LAN())
	w.cell(8)
	victim := w.nodes[7]
	a := accuse(w, victim, w.nodes[1:5]...)
	if !a.condemnsAt(w.nodes[0], w.nodes[1]) {
		t.Fatal("not condemned")
	}
	w.run(5 * time.Second)
	w.mustAgree()
	w.mustHaveNoFalseDeath()
	var kinds []Kind
	for _, e := range w.nodes[0].events {
		if e.Member.Record.Peer == victim.id {
			kinds = append(kinds, e.Kind)
		}
	}
	if !slices.Equal(kinds, []Kind{Joined, Suspected, Refuted}) {
		t.Errorf("events %v", kinds)
	}
}

func TestNobodyIsHeardBeforeAHello(t *testing.T) {
	w := newWorld(t, 9, LAN())
	w.cell(2)
	stranger := w.add()
	n := w.nodes[0]
	rec := stranger.record(uint64(w.now.UnixMilli()))
	n.input(func() { n.m.Receive(w.now, stranger.id, &Push{Records: [][]byte{rec.Envelope}}) })
	if n.m.rings.len() != 2 {
		t.Error("a peer was heard without a Hello")
	}
}

func TestWorthlessNeighbourIsShutOut(t *testing.T) {
	w := newWorld(t, 10, LAN())
	w.cell(3)
	n, bad := w.nodes[0], w.nodes[1]
	rec := slices.Clone(bad.m.own.Envelope)
	var refused []peer.ID
	for i := range maxStrikes + 2 {
		rec[len(rec)-1] = byte(i) // another wrong signature each time
		n.m.Receive(w.now, bad.id, &Push{Records: [][]byte{rec}})
		refused = append(refused, n.m.Take().Refuses...)
	}
	if !slices.Contains(refused, bad.id) {
		t.Error("never refused")
	}
	if checked := w.verifier.Checked(); checked > 3+maxStrikes+10 {
		t.Errorf("%d signatures computed", checked)
	}
}

// TestDeadAreGreetedRarely bounds what a cell sends to an address where nobody is any more.
func TestDeadAreGreetedRarely(t *testing.T) {
	w := newWorld(t, 11, LAN())
	w.cell(24)
	dead := w.nodes[5]
	dead.crash()
	w.run(10 * time.Minute)
	dials := 0
	for _, n := range w.nodes {
		dials += n.dials[dead.id]
	}
	if dials > 240 {
		t.Errorf("%d dials to a dead member in ten minutes", dials)
	}
	t.Logf("%d dials in ten minutes", dials)
}

// TestAbsurdAccusationIsNotFollowed: memberlist can be made to count its incarnation up to where it overflows.
func TestAbsurdAccusationIsNotFollowed(t *testing.T) {
	w := newWorld(t, 12, LAN())
	w.cell(3)
	n, bad := w.nodes[0], w.nodes[1]
	before := n.m.ownVersion()
	absurd := Version{1 << 61, 1 << 63}
	c := &Certificate{Subject: n.id, Version: absurd, Expires: w.now.Add(time.Hour)}
	a := &accusation{w, n, c}
	a.vote(bad, 0)
	for _, m := range []Message{&Ping{ID: 1, Voted: &absurd}, &Push{Deaths: []Death{{c, 0}}}} {
		n.input(func() { n.m.Receive(w.now, bad.id, m) })
	}
	if n.m.ownVersion() != before {
		t.Errorf("version %v, was %v", n.m.ownVersion(), before)
	}
}

// TestCertifiedNodeWithAnOldClockComesBack: its earlier life is certified dead at a higher incarnation than its own.
func TestCertifiedNodeWithAnOldClockComesBack(t *testing.T) {
	w := newWorld(t, 13, LAN())
	w.cell(8)
	n := w.nodes[2]
	before := n.m.own.Incarnation
	n.crash()
	w.gone(n, 5*time.Second)
	w.run(5 * time.Second)
	n.startAs(before-1000, w.nodes[0])
	if !w.runUntil(w.now.Add(5*time.Second), w.agreed) {
		w.mustAgree()
	}
	if n.m.own.Incarnation != before+1 {
		t.Errorf("incarnation %d, want %d", n.m.own.Incarnation, before+1)
	}
}

func TestTwoProcessesWithOneKeyDoNotFloodForEver(t *testing.T) {
	w := newWorld(t, 14, LAN())
	w.cell(3)
	n := w.nodes[0]
	for i := range uint64(100) {
		in := n.m.own.Instance
		in.Seq += 1 + i
		twin, err := record.Sign(n.key, in)
		if err != nil {
			t.Fatal(err)
		}
		n.input(func() { n.m.Receive(w.now, w.nodes[1].id, &Push{Records: [][]byte{twin.Envelope}}) })
		w.run(10 * time.Millisecond)
	}
	if seq := n.m.own.Seq; seq > 100 {
		t.Errorf("seq %d", seq)
	}
}

func TestTurningRingLosesNobodyAndHidesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 15, LAN())
	w.now = time.Date(2026, 11, 22, 14, 58, 0, 0, time.UTC)
	w.cell(24)
	w.runUntil(time.Date(2026, 11, 22, 14, 59, 58, 0, time.UTC), nil)
	w.nodes[5].crash() // the ring turns while it is being noticed
	w.gone(w.nodes[5], 5*time.Second)
	w.run(2 * time.Minute)
	w.nodes[6].crash()
	w.gone(w.nodes[6], 5*time.Second)
	w.mustAgree()
	w.mustHaveNoFalseDeath()
}
