package gossip

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// news is a record on its way through this member: to all neighbours but those that have shown that they hold it.
type news struct {
	record *record.Signed
	had    map[peer.ID]bool
}

// spread passes a record on that was new here. The first in a while goes at once; what follows within Gather goes
// together, and not to those who have sent it meanwhile: when many members start at once, nearly all of them have.
// Deaths do not wait.
func (m *Machine) spread(rec *record.Signed, from peer.ID) {
	m.news[rec.Peer] = &news{record: rec, had: map[peer.ID]bool{from: true}}
	if at := m.spreadAt.Add(m.profile.Gather); m.timers.spread.IsZero() {
		m.timers.spread = at
	}
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
		lacks := make([]byte, len(ids))
		for i, id := range ids {
			if !m.news[id].had[to] && id != to {
				lacks[i] = 1
			}
		}
		groups[string(lacks)] = append(groups[string(lacks)], to)
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
