package simulations

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// tell hands a message of a node to another one, as its neighbour.
func (w *World) tell(from, to *Node, m gossip.Message) {
	if to.Present() {
		to.input(func() { to.m.Receive(w.now, from.ID, m) })
	}
}

// TestNobodyDiesAtAVersionThatNobodyHasSeen: the subject could not refute it, and its records would count for less until it expired.
func TestNobodyDiesAtAVersionThatNobodyHasSeen(t *testing.T) {
	for name, beyond := range map[string]gossip.Version{"the next": {Seq: 1}, "one that is never reached": {Incarnation: 1 << 61}} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(15, gossip.LAN())
			settle(t, w, 8)
			liar, victim := w.nodes[1], w.nodes[7]
			own := victim.version()
			w.Turn(liar)
			for range 10 { // more often than it could jump above them
				a := accuse(w, victim)
				a.c.Version = gossip.Version{Incarnation: own.Incarnation + beyond.Incarnation, Seq: own.Seq + beyond.Seq}
				a.vote(liar, gossip.MaxWaited) // a lone one that has waited for long suffices
				for _, n := range w.nodes[2:] {
					w.tell(liar, n, &gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}})
				}
				w.Run(500 * time.Millisecond)
			}
			w.Run(2 * time.Second)
			mustHaveNoFalseDeath(t, w)
			mustAgree(t, w)
		})
	}
}

// TestADeathIsNotPutOffByVersionsThatNobodyHasSeen: each would begin the window of the dead anew.
func TestADeathIsNotPutOffByVersionsThatNobodyHasSeen(t *testing.T) {
	w := NewWorld(16, gossip.LAN())
	settle(t, w, 8)
	liar, victim := w.nodes[1], w.nodes[7]
	w.Turn(liar)
	v := victim.version()
	victim.Crash()
	crash := w.now
	for w.now.Sub(crash) < 5*time.Second {
		v.Seq++
		a := &accusation{w, victim, &gossip.Certificate{Subject: victim.ID, Version: v, Expires: w.now.Add(time.Hour)}}
		a.vote(liar, gossip.MaxWaited) // a lone one that has waited for long suffices
		for _, n := range w.nodes[:7] {
			w.tell(liar, n, &gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}})
		}
		w.Run(300 * time.Millisecond)
	}
	for _, n := range w.nodes {
		if n != liar && n.Present() && n.Lists(victim) {
			t.Errorf("node %d lists the dead after 5 s", n.Index)
		}
	}
}

// TestWhoMissedARecordLearnsOfItsDeath from those who have it, as soon as the others: a certificate is worth nothing before.
func TestWhoMissedARecordLearnsOfItsDeath(t *testing.T) {
	w := NewWorld(17, gossip.LAN())
	settle(t, w, 8)
	victim := w.nodes[7]
	next := victim.m.Self().Instance
	next.Seq++
	rec, err := record.Sign(victim.Key, next)
	if err != nil {
		t.Fatal(err)
	}
	victim.Crash()
	for _, n := range w.nodes[:5] {
		w.tell(w.nodes[5], n, &gossip.Push{Records: [][]byte{rec.Envelope}, Quiet: true})
	}
	a := &accusation{w, victim, &gossip.Certificate{Subject: victim.ID, Version: gossip.Version{Incarnation: rec.Incarnation, Seq: rec.Seq}, Expires: rec.Expires}}
	for _, n := range w.nodes[1:5] {
		a.vote(n, 0)
	}
	a.deliver(w.nodes[0], w.nodes[1])
	if !a.condemns() {
		t.Errorf("%d list the dead at the end of the window", w.Listers(victim))
	}
}

// TestCertificatesInARowAreRefutedOneByOne, each some time after the one before, and none is forgotten: the subject cannot know which of
// them others believe.
func TestCertificatesInARowAreRefutedOneByOne(t *testing.T) {
	w := NewWorld(22, gossip.LAN())
	settle(t, w, 8)
	liar, victim := w.nodes[1], w.nodes[7]
	own := victim.version()
	for range 100 {
		a := accuse(w, victim)
		a.vote(liar, gossip.MaxWaited) // against whatever record it has by now
		w.tell(liar, victim, &gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}})
	}
	if n := victim.version().Seq - own.Seq; n != 1 {
		t.Errorf("it has refuted %d times at once", n)
	}
	w.Run(w.Profile.Window / 2)
	if n := victim.version().Seq - own.Seq; n != 2 {
		t.Errorf("it has refuted %d times, half a window later", n)
	}
	mustHaveNoFalseDeath(t, w)
}

// TestComparisonsAreAnsweredWithinBounds: each answer to a few hashes lists hundreds of members.
func TestComparisonsAreAnsweredWithinBounds(t *testing.T) {
	w := NewWorld(23, gossip.LAN())
	settle(t, w, 8)
	before := w.Sum("ids").Frames
	for i := range 500 {
		differs := &gossip.Buckets{Count: 8}
		differs.Hashes[i%256] = uint64(i) + 1
		w.tell(w.nodes[1], w.nodes[0], differs)
	}
	if n := w.Sum("ids").Frames - before; n == 0 || n > 60 {
		t.Errorf("500 comparisons at once were answered %d times", n)
	}
}

// TestAWorthlessProofIsNotHandedOn: the asker would blame whoever did, and members whom a liar plays off against each other would shut each
// other out.
func TestAWorthlessProofIsNotHandedOn(t *testing.T) {
	w := NewWorld(18, gossip.LAN())
	settle(t, w, 8)
	liar, asker := w.nodes[3], w.nodes[0]
	liar.Bend = func(m gossip.Message) gossip.Message {
		if ack, ok := m.(*gossip.Ack); ok && ack.Nonce != nil {
			bent := *ack
			bent.Signature = make([]byte, 64)
			return &bent
		}
		return m
	}
	w.Cut = func(from, to *Node) bool { return from == liar && to == asker }
	asked, answered := 0, 0
	w.Trace = func(from, to *Node, m gossip.Message) {
		switch m := m.(type) {
		case *gossip.Ask:
			asked++
		case *gossip.Answer:
			if string(m.Alive) == string(make([]byte, 64)) {
				answered++
			}
		}
	}
	w.Run(time.Minute)
	if asked == 0 || answered > 0 {
		t.Errorf("%d questions, %d worthless answers", asked, answered)
	}
}

// TestLateLiarsMuteNobody: three answer fresh connections alone, and two ask about them all the time.
func TestLateLiarsMuteNobody(t *testing.T) {
	t.Parallel()
	w := NewWorld(19, gossip.WAN())
	anywhere(w, 0)
	settle(t, w, 16)
	late, askers := []*Node{w.nodes[0], w.nodes[3], w.nodes[6]}, []*Node{w.nodes[9], w.nodes[12]}
	for _, l := range late {
		l.Bend = func(m gossip.Message) gossip.Message {
			if _, ok := m.(*gossip.Hello); ok {
				return m
			}
			return nil
		}
	}
	ask := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); w.Run(200 * time.Millisecond) {
			for _, l := range askers {
				for _, about := range late {
					l.Send(&gossip.Ask{Subject: about.ID, Version: about.version(), Nonce: gossip.Nonce{byte(w.Rand.Uint32())}}, l.m.Neighbours()...)
				}
			}
		}
	}
	ask(20 * time.Second)
	l := &Liars{w: w, nodes: append(late, askers...)}
	victim := w.nodes[7]
	victim.Crash()
	crash := w.now
	for w.now.Sub(crash) < 30*time.Second && l.Doubters(victim) < 10 {
		ask(200 * time.Millisecond)
	}
	if took := w.now.Sub(crash); took > 7*time.Second {
		t.Errorf("a crashed member is on the list of %d of 10 after %s", 10-l.Doubters(victim), took)
	} else {
		t.Logf("a crashed member is off all lists after %s", took)
	}
	mustHaveNoFalseDeath(t, w)
}

// TestOneMemberCannotFloodTheCell by renewing its own record all the time, as itself or as one that comes and goes.
func TestOneMemberCannotFloodTheCell(t *testing.T) {
	t.Parallel()
	for how, change := range map[string]func(*record.Instance){
		"as itself": func(in *record.Instance) { in.Seq++ },
		"as one that comes and goes": func(in *record.Instance) {
			if in.State == record.Serving {
				in.Seq, in.State = in.Seq+1, record.Leaving
			} else {
				in.Incarnation, in.State = in.Incarnation+1, record.Serving
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			w := NewWorld(20, gossip.WAN())
			anywhere(w, 0)
			settle(t, w, 24)
			liar := w.nodes[3]
			to, in := liar.m.Neighbours(), liar.m.Self().Instance
			before := w.Sum("push").Frames
			const seconds, aSecond = 20, 20
			for range seconds * aSecond {
				change(&in)
				rec, err := record.Sign(liar.Key, in)
				if err != nil {
					t.Fatal(err)
				}
				liar.Send(&gossip.Push{Records: [][]byte{rec.Envelope}}, to...)
				w.Run(time.Second / aSecond)
			}
			passed := float64(w.Sum("push").Frames-before-uint64(seconds*aSecond*len(to))) / (24 * seconds)
			t.Logf("a member sends %.1f frames of records a second", passed)
			if passed > 40 { // without a bound 93 and 207
				t.Errorf("a member sends %.1f frames of records a second", passed)
			}
		})
	}
}

// others are a node's neighbours but one.
func others(of, but *Node) []peer.ID {
	return slices.DeleteFunc(of.m.Neighbours(), func(id peer.ID) bool { return id == but.ID })
}

// TestLiarsCannotMultiplyProbes: 30 % ask to be looked at all the time, ask others to look, and claim deaths, as fast as they can.
func TestLiarsCannotMultiplyProbes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{16, 32} {
		w := NewWorld(uint64(n), gossip.WAN())
		anywhere(w, 0)
		settle(t, w, n)
		var liars, honest []*Node
		for i, o := range w.nodes {
			if i%3 == 0 && len(liars) < n*3/10 {
				liars = append(liars, o)
			} else {
				honest = append(honest, o)
			}
		}
		pings := 0
		w.Trace = func(from, to *Node, m gossip.Message) {
			if _, ok := m.(*gossip.Ping); ok && slices.Contains(honest, from) {
				pings++
			}
		}
		const while = 30 * time.Second
		w.Run(while)
		quiet := pings
		for _, l := range liars {
			l.Bend = func(m gossip.Message) gossip.Message {
				if ack, ok := m.(*gossip.Ack); ok && ack.Next > 0 {
					bent := *ack
					bent.Next = time.Millisecond
					return &bent
				}
				return m
			}
		}
		lie := func(d time.Duration) {
			for end := w.now.Add(d); w.now.Before(end); w.Run(100 * time.Millisecond) {
				for _, l := range liars {
					about := honest[w.Rand.IntN(len(honest))]
					n := gossip.Nonce{byte(w.Rand.Uint32())}
					l.Send(&gossip.Ask{Subject: about.ID, Version: about.version(), Nonce: n}, l.m.Neighbours()...)
					a := accuse(w, about)
					a.vote(l, 0)
					l.Send(&gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}}, others(l, about)...)
				}
			}
		}
		lie(while) // spends what they have at once
		pings = 0
		lie(while)
		t.Logf("N=%d: %d pings, %d without liars", n, pings, quiet)
		if pings > 3*quiet {
			t.Errorf("N=%d: %d pings, %d without liars", n, pings, quiet)
		}
	}
}

// harass makes each liar say to all its neighbours, ten times a second, that they are dead: with a vote, and with a certificate of that
// vote alone, which says that the liar has waited.
func (l *Liars) harass(d, waited time.Duration) {
	w := l.w
	for end := w.now.Add(d); w.now.Before(end); w.Run(100 * time.Millisecond) {
		for _, n := range l.nodes {
			for _, id := range n.m.Neighbours() {
				a := accuse(w, w.byID[id])
				a.vote(n, waited)
				n.Send(&gossip.Ping{ID: w.Rand.Uint64(), Voted: &a.c.Version}, id)
				n.Send(&gossip.Push{Deaths: []gossip.Death{{Certificate: a.c}}}, id)
			}
		}
	}
}

// TestOneLiarsWordMutesNobody nor makes it flood the cell: what one member says of others is no evidence that they are unfit to judge, and
// is not refuted to everybody each time.
func TestOneLiarsWordMutesNobody(t *testing.T) {
	t.Parallel()
	const seconds = 8
	for waited, most := range map[time.Duration]uint64{
		0:                3 * (seconds + 5), // one a second of each, and some at once
		gossip.MaxWaited: 5*seconds + 1,     // it suffices: one each 200 ms
	} {
		w := NewWorld(24, gossip.WAN())
		anywhere(w, 0)
		settle(t, w, 24)
		l := w.Turn(w.nodes[0], w.nodes[8], w.nodes[16])
		victim := w.nodes[5]
		before := victim.version().Seq
		l.harass(seconds*time.Second, waited)
		refuted := victim.version().Seq - before
		t.Logf("it has refuted %d times in %d s", refuted, seconds)
		if refuted > most {
			t.Errorf("it has refuted %d times in %d s, want at most %d", refuted, seconds, most)
		}
		victim.Crash()
		honest := len(w.nodes) - len(l.nodes) - 1
		crash := w.now
		for w.now.Sub(crash) < 30*time.Second && l.Doubters(victim) < honest {
			l.harass(100*time.Millisecond, waited)
		}
		if took := w.now.Sub(crash); took > 6*time.Second {
			t.Errorf("a crashed member is on the list of %d of %d after %s", honest-l.Doubters(victim), honest, took)
		} else {
			t.Logf("a crashed member is off all lists after %s", took)
		}
		mustHaveNoFalseDeath(t, w)
	}
}
