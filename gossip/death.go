package gossip

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxEntries bounds everybody who is known, living or not: several times the largest cell that is promised.
const maxEntries = 1 << 16

// onDeath takes a certificate from a neighbour.
func (m *Machine) onDeath(from peer.ID, d Death) {
	c := d.Certificate
	if c.Subject == m.self {
		m.onOwnDeath(from, c)
		return
	}
	e := m.roster.look(c.Subject)
	if e == nil {
		return // the death of somebody who never lived here changes nothing, and could be invented
	}
	if rankOfDeath(c.Version).compare(e.rank) <= 0 {
		if e.rank.alive() {
			m.show(from, e) // the accuser may be the one that cannot hear the subject
		}
		m.held(c.Subject, rankOfDeath(c.Version), from)
		return
	}
	if c.Version.compare(e.rank.version()) > 0 {
		// A death names a record, or a liar could condemn versions that the subject never reaches. Who believes it can show the record.
		m.send(&Ask{Subject: c.Subject, Version: e.rank.version(), Nonce: m.nonce()}, from)
		return
	}
	if votes := m.validVotes(c); !m.profile.enoughForOthers(m.rings.len(), votes) {
		switch {
		case len(votes) == 0 && !m.credible(c):
			m.strike(from)
		case m.hearsay.take(m.now, hearsayPerSecond, hearsayAtOnce):
			m.lookNow(c.Subject)
		}
		return
	}
	age := d.Age
	if l := m.links[from]; l != nil {
		age += l.srtt / 2
	}
	m.condemn(c, age, from)
}

// accusationsPerSecond, and accusationsAtOnce in a burst, bound how often a neighbour can make this member refute a certificate that
// condemns it nowhere that it knows of: the whole cell learns of each refutation.
const accusationsPerSecond, accusationsAtOnce = 1, 4

// onOwnDeath refutes a certificate against this member.
func (m *Machine) onOwnDeath(from peer.ID, c *Certificate) {
	if m.profile.enoughForOthers(m.rings.len(), m.validVotes(c)) ||
		m.credible(c) && m.links[from].accusations.take(m.now, accusationsPerSecond, accusationsAtOnce) {
		m.accused(c.Version, from, true)
	}
}

// validVotes returns the votes of a certificate that count here: of different members, entitled to observe the
// subject, correctly signed.
func (m *Machine) validVotes(c *Certificate) []Vote {
	out := make([]Vote, 0, len(c.Votes))
	for i := range c.Votes {
		v := &c.Votes[i]
		twice := slices.ContainsFunc(out, func(o Vote) bool { return o.Voter == v.Voter })
		if !twice && m.validVote(c.Subject, c.Version, v) {
			out = append(out, *v)
		}
	}
	return out
}

// credible reports whether a certificate against this member itself is worth an answer: a vote in it comes from
// somebody who was once a member. After a partition its voters may count as dead here.
func (m *Machine) credible(c *Certificate) bool {
	return slices.ContainsFunc(c.Votes, func(v Vote) bool {
		e := m.roster.look(v.Voter)
		return e != nil && e.record != nil &&
			m.verify.signature(v.Voter, voteBytes(m.cell, c.Subject, c.Version, &v), v.Signature)
	})
}

// hearsayPerSecond, and hearsayAtOnce in a burst, bound how often a death that is claimed, and not believed, makes this member look.
const hearsayPerSecond, hearsayAtOnce = 0.2, 8

// lookNow makes this member look at once at a subject of its own, unless it did so within the last period. Unproven word of a death,
// or of another one, brings about that much and no more.
func (m *Machine) lookNow(subject peer.ID) {
	if p := m.probes[subject]; p != nil && p.stage == idle && m.now.Sub(p.asked) > m.profile.Period {
		p.due = m.now
	}
}

// doubtsPerSecond, and doubtsAtOnce in a burst, bound how many who count as dead a member greets because it is told that they
// live. When two halves of a cell meet again, each knows of the whole other half: did everybody greet them all, links would
// grow with the cell, and so would what is sent along them. A few are enough, for each that comes back brings neighbours with it
// who doubt others.
const doubtsPerSecond, doubtsAtOnce = 1, 8

// doubtful reports whether somebody who counts as dead here is said to live, by the very record that died.
func (m *Machine) doubtful(e *entry, v Version) bool {
	return e != nil && e.rank.dead && !e.listed && e.rank.version() == v && m.now.Sub(e.tried.time()) >= m.profile.Sync
}

// doubt greets some of those who are doubtful. They may sit behind a partition that has healed: they are told, and can refute.
func (m *Machine) doubt(doubtful []*entry) {
	m.shuffle(doubtful)
	for _, e := range doubtful {
		if !m.doubts.take(m.now, doubtsPerSecond, doubtsAtOnce) {
			return
		}
		e.tried = stampOf(m.now)
		m.connect(e.id)
	}
}

// condemn takes a sufficient certificate: it is passed on, and its subject has until the end of the window to refute.
// Counting the window from the certificate's making saves the time of one flood.
func (m *Machine) condemn(c *Certificate, age time.Duration, from peer.ID) {
	if !m.roster.kill(c, m.now) {
		return
	}
	e := m.roster.entry(c.Subject)
	e.ended = stampOf(m.now)
	if e.listed {
		m.condemned.put(e, m.now.Add(max(m.profile.Window-age, m.profile.WindowFloor)+m.local.patience()))
		if !e.suspected {
			e.suspected = true
			m.emit(Suspected, e)
		}
		if slices.Contains(m.observers, c.Subject) {
			m.reschedule()
		}
	}
	m.spreadDeath(c, age, from)
}

// tickCondemned ends those whose window has passed without a refutation.
func (m *Machine) tickCondemned() {
	for len(m.condemned) > 0 && !m.condemned[0].dropAt.After(m.now) {
		m.unlist(m.condemned[0], Dead)
	}
}

// condemned are those whose window to refute has not ended, the next to end first: thousands, when half a cell dies.
type condemned []*entry

// put adds somebody, or gives it another end of its window.
func (c *condemned) put(e *entry, dropAt time.Time) {
	c.remove(e)
	e.dropAt = dropAt
	at, _ := slices.BinarySearchFunc(*c, e, byDrop)
	*c = slices.Insert(*c, at, e)
}

// remove ends somebody's window, if one runs.
func (c *condemned) remove(e *entry) {
	if e.dropAt.IsZero() {
		return
	}
	if at, found := slices.BinarySearchFunc(*c, e, byDrop); found {
		*c = slices.Delete(*c, at, at+1)
	}
	e.dropAt = time.Time{}
}

func byDrop(a, b *entry) int { return cmp.Or(a.dropAt.Compare(b.dropAt), cmp.Compare(a.id, b.id)) }

// unlist takes an entry off the list of members and off the rings. What is known of it stays, so that no old record
// brings it back.
func (m *Machine) unlist(e *entry, why Kind) {
	m.condemned.remove(e)
	e.suspected, e.ended = false, stampOf(m.now)
	if !e.listed {
		return
	}
	e.listed = false
	m.rings.remove(e.id)
	delete(m.probes, e.id)
	m.dirty = true
	m.emit(why, e)
}

// show hands a neighbour the evidence of what is known of members.
func (m *Machine) show(to peer.ID, entries ...*entry) {
	var records [][]byte
	var deaths []Death
	for _, e := range entries {
		switch {
		case e.rank.dead && e.certificate != nil:
			deaths = append(deaths, m.death(e))
		case !e.rank.dead && e.record != nil:
			records = append(records, e.record.Envelope)
		}
	}
	m.pushRecords(records, true, to)
	m.pushDeaths(deaths, to)
}

// death is the certificate against somebody who counts as dead, as old as the rest of its window says.
func (m *Machine) death(e *entry) Death {
	left := time.Duration(0)
	if !e.dropAt.IsZero() {
		left = e.dropAt.Sub(m.now)
	}
	return Death{e.certificate, max(0, m.profile.Window-left).Truncate(time.Millisecond)}
}

// pushDeaths sends certificates in as many frames as they need.
func (m *Machine) pushDeaths(deaths []Death, to ...peer.ID) {
	for len(deaths) > 0 {
		n, size := 0, 0
		for n < len(deaths) && size < pushBudget {
			size += deaths[n].Certificate.size()
			n++
		}
		m.send(&Push{Deaths: deaths[:n:n]}, to...)
		deaths = deaths[n:]
	}
}

// tellEvery is how often a neighbour is told that it counts as dead.
const tellEvery = time.Second

// tell shows a neighbour who counts as dead, or gone, or had a newer record, what is known of it. Its own last record
// goes with a certificate: it proves an earlier life. Where the evidence is no longer kept, the version alone is said.
func (m *Machine) tell(id peer.ID) {
	e, l := m.roster.look(id), m.links[id]
	if e == nil || l != nil && m.now.Sub(l.told) < tellEvery {
		return
	}
	if l != nil {
		l.told = m.now
	}
	switch {
	case e.record == nil && e.rank.left:
		m.send(&Ping{Voted: &Version{e.rank.incarnation, math.MaxUint64}}, id)
	case e.record == nil:
		v := e.rank.version()
		m.send(&Ping{Voted: &v}, id)
	case e.rank.dead:
		m.send(&Push{Records: [][]byte{e.record.Envelope}, Quiet: true}, id)
		m.show(id, e)
	default:
		m.show(id, e)
	}
}
