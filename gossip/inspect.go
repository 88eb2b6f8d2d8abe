package gossip

import "github.com/libp2p/go-libp2p/core/peer"

// Len returns how many members are listed, this one included, without making the list.
func (m *Machine) Len() int { return m.rings.len() }

// Lists reports whether a peer is among Members.
func (m *Machine) Lists(id peer.ID) bool {
	e := m.roster.look(id)
	return e != nil && e.listed
}

// Member returns what is known of a listed member; ok says that it is one.
func (m *Machine) Member(id peer.ID) (member Member, ok bool) {
	if !m.Lists(id) {
		return Member{}, false
	}
	return m.member(m.roster.look(id)), true
}

// Observers returns who watches a member now, as this one sees the rings: whose votes count against it first.
func (m *Machine) Observers(of peer.ID) []peer.ID { return m.rings.observers(of) }

// Accepts reports whether one member's vote against another counts here: it is among the first two of a ring.
func (m *Machine) Accepts(voter, subject peer.ID) bool { return m.rings.accepts(voter, subject, m.now) }

// Neighbours lists, in order, the peers to whom what bears on a life is sent.
func (m *Machine) Neighbours() []peer.ID { return m.neighbours() }
