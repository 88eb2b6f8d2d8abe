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

	nonce     Nonce // of the last Ask sent
	votes     map[peer.ID]Vote
	since     time.Time // suspect since
	askAt     time.Time // as a suspect: when to ask others
	certified bool
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
	e := m.roster.entries[p.subject]
	if e == nil || !e.listed {
		delete(m.probes, p.subject)
		return
	}
	p.stage, p.version, p.asked, p.sent = first, e.rank.version(), m.now, nil
	p.forOther, p.certified, p.votes, p.since = false, false, nil, time.Time{}
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
		wait *= 2
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
	p.due = m.now.Add(m.profile.Retry)
	p.askAt = m.now
	if p.forOther {
		p.askAt = m.now.Add(m.profile.Takeover)
	}
	m.vote(p)
	for _, a := range p.askers {
		m.answerVote(p, a)
	}
	p.askers = nil
	if e := m.roster.entries[p.subject]; !e.suspected {
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
	if e := m.roster.entries[p.subject]; e.suspected && e.dropAt.IsZero() {
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
	if !p.certified && !m.now.Before(p.askAt) {
		m.redial(p.subject)
		m.askAll(p)
		m.certify(p)
	}
}

// resolve ends a round, if one is under way, with proof of life: direct, or by way of another observer.
func (m *Machine) resolve(p *probe, direct bool) {
	if p.stage == idle {
		return
	}
	m.judgeOwnHealth(p, direct)
	p.stage, p.votes, p.since = idle, nil, time.Time{}
	p.forOther, p.certified = false, false
	p.due = m.now.Add(m.cycle())
	e := m.roster.entries[p.subject]
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

// judgeOwnHealth counts a living subject that this member could not see against this member.
func (m *Machine) judgeOwnHealth(p *probe, direct bool) {
	l := m.links[p.subject]
	switch {
	case p.stage == first:
		m.local.pinged(false)
		m.local.better()
	case p.stage >= ask:
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

// ping sends the next ping of a round.
func (m *Machine) ping(p *probe, nonce *Nonce) {
	m.pingID++
	if len(p.sent) == maxSent {
		p.sent = slices.Delete(p.sent, 0, 1)
	}
	p.sent = append(p.sent, sentPing{m.pingID, m.now})
	msg := &Ping{ID: m.pingID, Nonce: nonce}
	if p.stage == suspect {
		voted := p.version
		msg.Voted = &voted
	}
	m.send(msg, p.subject)
}

func (m *Machine) redial(id peer.ID) {
	if e := m.roster.entries[id]; e != nil && e.record != nil {
		m.out.Redials = append(m.out.Redials, peer.AddrInfo{ID: id, Addrs: e.record.Addrs})
	}
}

// Redialled says how the fresh connection to a peer went.
func (m *Machine) Redialled(now time.Time, id peer.ID, answered bool) {
	m.enter(now)
	defer m.leaveInput()
	if p := m.probes[id]; answered && p != nil && p.stage >= ask {
		m.resolve(p, false)
	}
}

// onPing answers a neighbour.
func (m *Machine) onPing(from peer.ID, ping *Ping) {
	ack := m.ack(ping, m.links[from])
	if slices.Contains(m.rings.observers(m.self), from) {
		ack.Next = m.slots.next(m.now, m.profile.Period, from).Round(time.Millisecond)
	} else if m.rings.accepts(from, m.self, m.now) {
		ack.Next = m.slots.between(m.now, m.profile.Period).Round(time.Millisecond)
	}
	m.send(ack, from)
	if ping.Voted != nil {
		m.accused(*ping.Voted, from, false)
	}
	if e := m.roster.entries[from]; e != nil && e.rank.dead {
		m.tell(from)
	}
}

func (m *Machine) ack(ping *Ping, l *link) *Ack {
	ack := &Ack{ID: ping.ID, State: m.own.State, Seq: m.own.Seq}
	if ping.Nonce != nil && (l == nil || l.asks.take(m.now, asksPerSecond)) {
		ack.Nonce, ack.Signature = ping.Nonce, m.sign(aliveBytes(m.cell, m.self, *ping.Nonce))
	}
	return ack
}

// Answer answers the one ping of a stream that carries nothing else: a fresh connection proves by it that not only
// the host but this machine is well. Anybody may ask.
func (m *Machine) Answer(ping *Ping) *Ack { return m.ack(ping, nil) }

func (m *Machine) sign(data []byte) []byte {
	sig, err := m.key.Sign(data)
	if err != nil {
		return nil // an Ed25519 key in memory does not fail
	}
	return sig
}

// onAck takes a neighbour's answer.
func (m *Machine) onAck(from peer.ID, l *link, ack *Ack) {
	if m.left {
		if m.goodbye[from] == ack.ID {
			delete(m.goodbye, from)
		}
		return
	}
	p := m.probes[from]
	if p == nil {
		return
	}
	i := slices.IndexFunc(p.sent, func(s sentPing) bool { return s.id == ack.ID })
	switch {
	case i >= 0:
		l.sample(m.now.Sub(p.sent[i].at))
		m.resolve(p, true)
		m.relay(p, ack)
	case ack.ID != 0 || p.stage != idle:
		return
	}
	if wait := ack.Next; wait > 0 {
		p.due = m.now.Add(min(max(wait, m.profile.Period/2), 2*m.cycle()))
	}
	if e := m.roster.entries[from]; e != nil && e.record != nil && ack.Seq > e.record.Seq {
		m.send(&Want{[]peer.ID{from}}, from)
	}
}

// cycle is the time in which each observer of a subject has its turn.
func (m *Machine) cycle() time.Duration {
	return m.profile.Period * time.Duration(m.profile.observers(m.rings.len()))
}

// timeout is how long to wait for an ack.
func (m *Machine) timeout(id peer.ID) time.Duration {
	l := m.links[id]
	if l == nil || l.srtt == 0 {
		return max(m.profile.FirstTimeout, m.profile.TimeoutMax)
	}
	t := min(max(l.srtt+4*l.rttvar, m.profile.TimeoutMin), m.profile.TimeoutMax)
	return time.Duration(float64(t) * m.local.stretch())
}
