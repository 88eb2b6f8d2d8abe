package gossip

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// asksPerSecond, and asksAtOnce in a burst, bound what a neighbour can make this member sign, probe or look up.
const asksPerSecond, asksAtOnce = 20, 40

// askAll asks every fellow observer to look at a subject itself and to answer this member alone.
func (m *Machine) askAll(p *probe) {
	p.nonce = m.nonce()
	fellows := slices.DeleteFunc(m.rings.observers(p.subject), func(id peer.ID) bool { return id == m.self })
	m.send(&Ask{Subject: p.subject, Version: p.version, Nonce: p.nonce}, fellows...)
}

// onAsk looks at a subject for a fellow observer.
func (m *Machine) onAsk(from peer.ID, a *Ask) {
	if !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		return
	}
	if a.Subject == m.self {
		m.send(&Answer{Subject: m.self, Nonce: a.Nonce, Alive: m.sign(aliveBytes(m.cell, m.self, a.Nonce))}, from)
		return
	}
	e := m.roster.look(a.Subject)
	switch {
	case e == nil:
		return
	case !e.rank.alive():
		if rec := e.record; e.rank.dead && rec != nil && (Version{rec.Incarnation, rec.Seq}).compare(a.Version) > 0 {
			m.pushRecords([][]byte{rec.Envelope}, true, from) // it does not know the record that died
		}
		m.show(from, e)
		return
	case e.rank.version().compare(a.Version) > 0:
		m.send(&Answer{Subject: a.Subject, Nonce: a.Nonce, Record: e.record.Envelope}, from)
		return
	case !m.rings.accepts(from, a.Subject, m.now) || !m.rings.accepts(m.self, a.Subject, m.now):
		return
	}
	m.lookFor(asker{from, a.Nonce}, e)
}

// looksAtOnce bounds how often in a row an observer can make this member look at somebody who turns out alive; then once a cycle. So often one
// that has no path to the subject, though all others have, must be answered.
const looksAtOnce = 8

// lookFor pings a subject in the name of an asker, whose nonce the subject has to sign.
func (m *Machine) lookFor(a asker, e *entry) {
	p := m.probes[e.id]
	look := m.links[a.id].looks.take(m.now, 1/m.cycle().Seconds(), looksAtOnce)
	if !look && (p == nil || p.stage != suspect) {
		return
	}
	if p == nil {
		p = &probe{subject: e.id, hearsay: true}
		m.probes[e.id] = p
	}
	p.askers = slices.DeleteFunc(p.askers, func(o asker) bool { return o.id == a.id })
	if len(p.askers) < maxAskers {
		p.askers = append(p.askers, a)
	}
	if p.stage < again {
		if p.stage == idle {
			p.version, p.asked, p.sent, p.votes = e.rank.version(), m.now, nil, nil
		}
		p.stage, p.forOther = again, true
		p.due = m.now.Add(m.timeout(e.id))
	}
	if look {
		m.ping(p, &a.nonce)
	}
	if p.stage == suspect && !m.mute() {
		m.vote(p)
		m.answerVote(p, a)
	}
}

// relay hands a subject's signature to the one whose nonce it covers, who takes a worthless one for this member's fault.
func (m *Machine) relay(p *probe, ack *Ack) {
	if ack.Nonce == nil || len(ack.Signature) == 0 {
		return
	}
	p.askers = slices.DeleteFunc(p.askers, func(a asker) bool {
		if a.nonce != *ack.Nonce {
			return false
		}
		if !m.verify.signature(p.subject, aliveBytes(m.cell, p.subject, a.nonce), ack.Signature) {
			m.strike(p.subject)
			return false
		}
		m.send(&Answer{Subject: p.subject, Nonce: a.nonce, Alive: ack.Signature}, a.id)
		return true
	})
}

// vote renews this member's own vote against a suspect.
func (m *Machine) vote(p *probe) {
	v, err := SignVote(m.key, m.self, m.cell, p.subject, p.version, m.now, m.now.Sub(p.since))
	if err != nil {
		return
	}
	if p.votes == nil {
		p.votes = make(map[peer.ID]Vote)
	}
	p.votes[m.self] = v
}

func (m *Machine) answerVote(p *probe, a asker) {
	if v, ok := p.votes[m.self]; ok {
		m.send(&Answer{Subject: p.subject, Nonce: a.nonce, Version: p.version, Vote: &v}, a.id)
	}
}

// onAnswer takes a fellow observer's answer. Proof of life voids the votes; only the subject itself can have made it.
func (m *Machine) onAnswer(from peer.ID, a *Answer) {
	if a.Record != nil {
		m.learnFrom(from, [][]byte{a.Record}, false)
		return
	}
	p := m.probes[a.Subject]
	if p == nil || p.stage < ask || a.Nonce != p.nonce {
		return
	}
	if a.Alive != nil {
		if m.verify.signature(a.Subject, aliveBytes(m.cell, a.Subject, a.Nonce), a.Alive) {
			m.resolve(p, false)
		} else {
			m.strike(from)
		}
		return
	}
	if a.Vote.Voter == from && a.Version == p.version && m.validVote(a.Subject, a.Version, a.Vote) {
		if p.votes == nil {
			p.votes = make(map[peer.ID]Vote)
		}
		p.votes[from] = *a.Vote
		m.certify(p)
	}
}

// validVote checks a vote, the cheap things first.
func (m *Machine) validVote(subject peer.ID, v Version, vote *Vote) bool {
	return vote.Voter != subject && m.rings.accepts(vote.Voter, subject, m.now) &&
		vote.At.Before(m.now.Add(record.Leeway)) &&
		m.verify.signature(vote.Voter, voteBytes(m.cell, subject, v, vote), vote.Signature)
}

// certify makes a certificate once the votes suffice. Before that they are nobody else's business.
func (m *Machine) certify(p *probe) {
	e := m.roster.look(p.subject)
	if p.stage != suspect || e.rank.dead || m.mute() {
		return
	}
	votes := make([]Vote, 0, len(p.votes))
	for _, id := range sorted(p.votes) {
		votes = append(votes, p.votes[id])
	}
	if !m.profile.enough(m.rings.len(), votes) {
		return
	}
	slices.SortStableFunc(votes, func(a, b Vote) int { return cmp.Compare(b.Waited, a.Waited) })
	m.condemn(&Certificate{
		Subject: p.subject, Version: p.version, Expires: e.expires.time().Add(-record.Leeway).Truncate(time.Second),
		Votes: votes[:min(len(votes), MaxVotes)],
	}, 0, m.self)
}
