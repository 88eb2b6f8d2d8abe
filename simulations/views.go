package simulations

import (
	"fmt"
	"strings"
	"time"

	"github.com/cellnode/cellnode/gossip"
)

// views follows who is on whose list by the events that the machines tell, so that asking costs nothing after each of
// millions of events.
type views struct {
	listers map[*Node]int // how many members beside itself list a node
	version uint64        // grows with each change
	asked   uint64        // version at which agreed was computed
	agreed  bool
}

func (v *views) changed() { v.version++ }

func (v *views) add(n *Node, by int) {
	if v.listers == nil {
		v.listers = make(map[*Node]int)
	}
	v.listers[n] += by
	v.version++
}

// end takes the list of a node that is no member any more out of the count.
func (v *views) end(n *Node) {
	v.version++
	for o := range v.listers {
		if o != n && n.Lists(o) {
			v.listers[o]--
		}
	}
}

// told takes an event of a node's machine.
func (n *Node) told(e gossip.Event) {
	w, rec := n.w, e.Member.Record
	if w.KeepEvents {
		n.Events = append(n.Events, Event{w.now, e})
	}
	about := w.byID[rec.Peer]
	if about == nil || about == n || n.left {
		return
	}
	switch e.Kind {
	case gossip.Joined:
		w.views.add(about, 1)
	case gossip.Dead, gossip.Left, gossip.Expired, gossip.Revoked:
		w.views.add(about, -1)
	}
	if e.Kind == gossip.Dead && n.Bend == nil && about.Bend == nil && about.Present() && about.m.Self().Incarnation == rec.Incarnation {
		w.FalseDeaths++
	}
}

// Listers is how many other members list a node.
func (w *World) Listers(n *Node) int { return w.views.listers[n] }

// Agreed reports whether every member lists exactly those who are members.
func (w *World) Agreed() bool {
	v := &w.views
	if v.asked == v.version && v.version > 0 {
		return v.agreed
	}
	v.asked, v.agreed = v.version, true
	present := w.Present()
	for _, n := range w.nodes {
		want := 0
		if n.Present() {
			want = present - 1
		}
		if v.listers[n] != want {
			v.agreed = false
			break
		}
	}
	return v.agreed
}

// Present counts the members.
func (w *World) Present() int {
	count := 0
	for _, n := range w.nodes {
		if n.Present() {
			count++
		}
	}
	return count
}

// Agree lets time pass until all members agree. After d it gives up and says what each one lists.
func (w *World) Agree(d time.Duration) error {
	if w.Until(d, w.Agreed) {
		return nil
	}
	var lines strings.Builder
	for _, n := range w.nodes {
		if n.Present() && n.m.Len() != w.Present() {
			fmt.Fprintf(&lines, "\nnode %d lists %d", n.Index, n.m.Len())
		}
	}
	return fmt.Errorf("simulations: %d members do not agree within %s:%s", w.Present(), d, lines.String())
}

// Gone lets time pass until no member lists a node, and returns how long that took.
func (w *World) Gone(n *Node, within time.Duration) (time.Duration, error) {
	from := w.now
	if !w.Until(within, func() bool { return w.Listers(n) == 0 }) {
		return within, fmt.Errorf("simulations: node %d is still listed by %d after %s", n.Index, w.Listers(n), within)
	}
	return w.now.Sub(from), nil
}
