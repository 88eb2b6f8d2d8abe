package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// news is a record on its way through this member: to those of its neighbours who have not shown that they hold it.
type news struct {
	record *record.Signed
	urgent bool // to all neighbours, not to the relays alone
	had    map[peer.ID]bool
}

// relayRings is on how many of the rings a record is passed on, beside one random link. Its owner has sent it to all of
// its own neighbours; along 4 rings and a random link it reaches everybody else within a few hops, at a fifth of the
// messages of a flood along all links. A member whose 5 predecessors are all liars hears of it by anti-entropy.
const relayRings = 4

// spread passes a record on that was new here. The first in a while goes at once; what follows within Gather goes
// together, and not to those who have sent it meanwhile: when many members start at once, nearly all of them have.
// What decides on life and death, a leave or a refutation, is urgent; certificates do not come here at all.
func (m *Machine) spread(rec *record.Signed, from peer.ID, urgent bool) {
	m.news[rec.Peer] = &news{record: rec, urgent: urgent, had: map[peer.ID]bool{from: true}}
	if m.timers.spread.IsZero() {
		m.timers.spread = m.spreadAt.Add(m.profile.Gather)
	}
}

// urgent reports whether a record, not learned yet, bears on somebody's life.
func (m *Machine) urgent(rec *record.Signed) bool {
	e := m.roster.look(rec.Peer)
	return rec.State == record.Leaving || e != nil && (e.suspected || e.rank.dead)
}

// held notes that a neighbour has a record, which it has just sent.
func (m *Machine) held(rec *record.Signed, by peer.ID) {
	if n := m.news[rec.Peer]; n != nil && n.record.Incarnation == rec.Incarnation && n.record.Seq == rec.Seq {
		n.had[by] = true
	}
}

// tickSpread sends what has been gathered. Neighbours that lack the same get the same frames.
func (m *Machine) tickSpread() {
	if m.timers.spread.IsZero() || m.timers.spread.After(m.now) {
		return
	}
	ids := sorted(m.news)
	groups := make(map[string][]peer.ID)
	for _, to := range m.neighbours() {
		lacks := m.lacking(ids, to)
		groups[lacks] = append(groups[lacks], to)
	}
	for _, lacks := range sorted(groups) {
		var envelopes [][]byte
		for i, id := range ids {
			if lacks[i] == 1 {
				envelopes = append(envelopes, m.news[id].record.Envelope)
			}
		}
		m.pushRecords(envelopes, groups[lacks]...)
	}
	clear(m.news)
	m.spreadAt, m.timers.spread = m.now, time.Time{}
}

// lacking marks with a 1 each of the news that a neighbour is to be sent.
func (m *Machine) lacking(ids []peer.ID, to peer.ID) string {
	marks := make([]byte, len(ids))
	relay := slices.Contains(m.relays, to)
	for i, id := range ids {
		if n := m.news[id]; !n.had[to] && id != to && (n.urgent || relay) {
			marks[i] = 1
		}
	}
	return string(marks)
}
