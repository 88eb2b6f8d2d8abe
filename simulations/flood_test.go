package simulations

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
)

// TestManyDeathsCostAMemberFewCopies kills a quarter of a cell at once. Along all links each certificate would reach each member
// some fifteen times.
func TestManyDeathsCostAMemberFewCopies(t *testing.T) {
	t.Parallel()
	const n, deaths = 240, 60
	w := NewWorld(14, gossip.WAN())
	w.Links(20 * time.Millisecond)
	w.Populate(n)
	w.Run(20 * time.Second)
	copies := 0
	w.Trace = func(_, _ *Node, m gossip.Message) {
		if push, ok := m.(*gossip.Push); ok {
			copies += len(push.Deaths)
		}
	}
	for i := range deaths {
		w.nodes[4*i].Crash()
	}
	agree(t, w, 20*time.Second)
	mustHaveNoFalseDeath(t, w)
	each := float64(copies) / (n - deaths) / deaths
	t.Logf("%.1f copies of each certificate a member, %d offers", each, w.Sum("have").Frames)
	if each > 6 {
		t.Errorf("a member was sent %.1f copies of each certificate", each)
	}
}

// TestAnOfferIsTakenUpOnce is about word of deaths: what is new is asked for, of one neighbour at a time, and what cannot be is
// not.
func TestAnOfferIsTakenUpOnce(t *testing.T) {
	w := NewWorld(15, gossip.WAN())
	settle(t, w, 40)
	n, victim := w.nodes[0], w.nodes[9]
	one, two := w.byID[n.m.Neighbours()[0]], w.byID[n.m.Neighbours()[1]]
	var asked []peer.ID
	w.Trace = func(from, to *Node, m gossip.Message) {
		if want, ok := m.(*gossip.Want); ok && from == n && slices.Contains(want.Peers, victim.ID) {
			asked = append(asked, to.ID)
		}
	}
	older := victim.version()
	victim.Input(func(now time.Time, m *gossip.Machine) { m.Update(now, m.Self()) })
	w.Run(time.Second)
	for _, o := range []struct {
		from    *Node
		version gossip.Version
		asked   *Node // or nil
		after   time.Duration
	}{
		{one, older, nil, 0},
		{one, victim.version(), one, 0},
		{two, victim.version(), nil, 100 * time.Millisecond},
		{two, victim.version(), two, 300 * time.Millisecond},
	} {
		asked = nil
		w.Run(o.after)
		n.input(func() {
			n.m.Receive(w.now, o.from.ID, &gossip.Have{Deaths: []gossip.ID{{Peer: victim.ID, Version: o.version}, {Peer: "nobody", Version: o.version}}})
		})
		w.Run(20 * time.Millisecond)
		if o.asked == nil && len(asked) > 0 || o.asked != nil && !slices.Equal(asked, []peer.ID{o.asked.ID}) {
			t.Errorf("%s after: node %d offers %v: asked %v", o.after, o.from.Index, o.version, asked)
		}
	}
	if w.Listers(victim) != 39 {
		t.Errorf("%d list the member that was said to be dead", w.Listers(victim))
	}
}
