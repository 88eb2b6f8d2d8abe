package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// stage is how far one look at a subject has come.
type stage uint8

const (
	idle    stage = iota // waits for its slot
	first                // pinged
	again                // pinged once more, on the same stream
	ask                  // a fresh connection is tried, and the fellow observers are asked
	suspect              // the own round has failed; votes are collected until they suffice or it answers
)

// probe is this member's watch over one subject.
type probe struct {
	subject peer.ID
	due     time.Time // next ping, or end of the stage
	stage   stage
	version Version   // of the subject's record when the round began
	asked   time.Time // when the round began
	sent    []sentPing

	forOther bool // this round answers another observer, who collects the votes
	hearsay  bool // not an own subject, or no longer: ends with the round
	askers   []asker

	nonce Nonce // of the last Ask sent
	votes map[peer.ID]Vote
	since time.Time // suspect since

	hurried allowance // of turns that come sooner than half a cycle
}

type sentPing struct {
	id uint64
	at time.Time
}

type asker struct {
	id    peer.ID
	nonce Nonce
}

const (
	maxSent   = 8  // pings of a round whose acks are still recognised
	maxAskers = 16 // observers that a probe answers to
)

// tickProbes takes every probe that is due one step further.
func (m *Machine) tickProbes() {
	var due []peer.ID
	for id, p := range m.probes {
		if !p.due.After(m.now) {
			due = append(due, id)
		}
	}
	slices.Sort(due)
	for _, id := range due {
		m.step(m.probes[id])
	}
}

func (m *Machine) step(p *probe) {
	switch p.stage {
	case idle:
		if p.hearsay {
			delete(m.probes, p.subject)
			return
		}
		m.begin(p)
	case first:
		m.local.pinged(true)
		p.stage = again
		m.ping(p, nil)
		p.due = m.now.Add(m.timeout(p.subject))
	case again:
		m.widen(p)
	case ask:
		m.fail(p)
	case suspect:
		m.insist(p)
	}
}

// begin starts a round.
func (m *Machine) begin(p *probe) {
	e := m.roster.look(p.subject)
	if e == nil || !e.listed {
		delete(m.probes, p.subject)
		return
	}
	p.stage, p.version, p.asked, p.sent = first, e.rank.version(), m.now, nil
	p.forOther, p.votes, p.since = false, nil, time.Time{}
	m.ping(p, nil)
	p.due = m.now.Add(m.timeout(p.subject))
}

// widen follows two missed acks: only now a fresh connection is made, for 5 % loss alone would cost hundreds an
// hour, and all fellow observers are asked, for three of them were clearly too few.
func (m *Machine) widen(p *probe) {
	p.stage = ask
	m.listen(p.asked, p.subject)
	m.redial(p.subject)
	wait := m.timeout(p.subject)
	if !p.forOther {
		wait = max(wait, min(2*wait, m.profile.FirstTimeout)) // the others dial, too
		m.askAll(p)
	}
	p.due = m.now.Add(wait)
}

// fail ends a round without any sign of life.
func (m *Machine) fail(p *probe) {
	switch {
	case m.abandoned(p):
		return
	case m.mute() || m.cutOff(p.asked):
		m.begin(p)
		return
	}
	p.stage, p.since = suspect, m.now
	if p.forOther {
		p.due = m.now.Add(m.profile.Takeover + m.jitter(m.profile.Takeover))
	} else {
		p.due = m.now.Add(m.profile.Retry)
		m.lookAtFellows(p)
	}
	m.vote(p)
	for _, a := range p.askers {
		m.answerVote(p, a)
		if l := m.links[a.id]; l != nil {
			l.looks.give() // it was right
		}
	}
	p.askers = nil
	if e := m.roster.entry(p.subject); !e.suspected {
		e.suspected = true
		m.emit(Suspected, e)
	}
	m.certify(p)
}

// abandoned ends a probe that has become none of this member's business: nobody would answer it, and nobody would
// take its vote.
func (m *Machine) abandoned(p *probe) bool {
	if !p.hearsay || m.rings.accepts(m.self, p.subject, m.now) {
		return false
	}
	delete(m.probes, p.subject)
	if e := m.roster.entry(p.subject); e.suspected && e.dropAt.IsZero() {
		e.suspected = false
		m.emit(Refuted, e)
	}
	return true
}

// insist keeps at a suspect: as time passes fewer votes suffice, and it may still answer.
func (m *Machine) insist(p *probe) {
	if m.abandoned(p) {
		return
	}
	p.due = m.now.Add(m.profile.Retry)
	m.ping(p, nil)
	m.listen(m.now.Add(-m.profile.Retry), p.subject)
	if m.mute() || m.cutOff(m.now.Add(-2*m.profile.Retry)) {
		return
	}
	m.vote(p)
	if !m.roster.look(p.subject).rank.dead { // no certificate yet
		m.lookAtFellows(p)
		m.redial(p.subject)
		m.askAll(p)
		m.certify(p)
	}
}

// lookAtFellows looks at once at the other observers of a suspect, as far as they are subjects of this member: the turn that a dead
// observer had with them passes unused, and they may have died with it, or of the same.
func (m *Machine) lookAtFellows(p *probe) {
	for _, id := range m.rings.observers(p.subject) {
		m.lookNow(id)
	}
}

// resolve ends a round, if one is under way, with proof of life: direct, or by way of another observer.
func (m *Machine) resolve(p *probe, direct bool) {
	if p.stage == idle {
		return
	}
	m.judgeOwnHealth(p, direct)
	p.stage, p.votes, p.since = idle, nil, time.Time{}
	p.forOther = false
	p.due = m.now.Add(m.cycle())
	e := m.roster.entry(p.subject)
	if e == nil {
		return
	}
	if !e.dropAt.IsZero() {
		m.tell(p.subject) // it is condemned and must refute in its own name
	} else if e.suspected {
		e.suspected = false
		m.emit(Refuted, e)
	}
}

// judgeOwnHealth counts a living subject that this member could not see against this member: in a round of its own, for there could be any
// number of those that others ask for.
func (m *Machine) judgeOwnHealth(p *probe, direct bool) {
	l := m.links[p.subject]
	switch {
	case p.stage == first:
		m.local.pinged(false)
		m.local.better()
	case p.stage >= ask && !p.forOther:
		m.local.worse(m.profile)
	}
	if l == nil {
		return
	}
	if direct {
		l.detours = 0
	} else if l.detours++; l.detours >= 2 {
		l.detours = 0
		m.out.Reopens = append(m.out.Reopens, p.subject)
	}
}
