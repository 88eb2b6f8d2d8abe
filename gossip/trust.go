package gossip

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// Trusted holds the members to a trust document that the Authority has taken by another way than gossip, and passes it on.
// Without a new one it does nothing.
func (m *Machine) Trusted(now time.Time) {
	if m.authority.Version() == m.trusted {
		return
	}
	m.enter(now)
	defer m.leaveInput()
	m.trust()
}

// onTrust takes a document from a neighbour. What an honest one may send is worth no strike: a version that is older.
func (m *Machine) onTrust(from peer.ID, document []byte) {
	_, err := m.authority.Take(document, m.now)
	var refusal *record.Refusal
	if errors.As(err, &refusal) && refusal.Code != record.CodeReplay {
		m.strike(from)
	}
	m.trust(from)
}

// trust holds the members to the Authority's document, if that is another than before, and passes it on at once to all
// neighbours but those who have it.
func (m *Machine) trust(but ...peer.ID) {
	if m.left || m.authority.Version() == m.trusted {
		return
	}
	m.trusted = m.authority.Version()
	m.version++
	m.send(&Push{Trust: m.authority.Chain()}, m.neighbours(but...)...)
	for _, id := range m.roster.which(func(e *entry) bool { return e.listed && e.id != m.self && e.record != nil }) {
		if m.authority.Admit(m.roster.look(id).record, m.now) != nil {
			m.revoke(m.roster.entry(id))
		}
	}
}

// revoke forgets a member who may be none any more. Should its publishers give it a grant again, it is a newcomer.
func (m *Machine) revoke(e *entry) {
	m.unlist(e, Revoked)
	m.roster.forget(e.id)
	m.unlink(e.id)
	m.out.Refuses = append(m.out.Refuses, e.id)
}

// compareTrust hands the document to a neighbour who has an older one, and shows a neighbour who has a newer one what is
// missing here.
func (m *Machine) compareTrust(from peer.ID, version uint64) {
	switch have := m.authority.Version(); {
	case m.authority == nil || version == have:
	case !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce):
	case version < have:
		m.send(&Push{Trust: m.authority.Chain()}, from)
	default:
		m.send(m.digest(), from)
	}
}
