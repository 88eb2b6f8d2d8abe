package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

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
	if e := m.roster.look(id); e != nil && e.record != nil {
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
	if slices.Contains(m.observers, from) {
		ack.Next = m.slots.next(m.now, m.profile.Period, from).Round(time.Millisecond)
	} else if m.rings.accepts(from, m.self, m.now) {
		ack.Next = m.slots.between(m.now, m.profile.Period).Round(time.Millisecond)
	}
	m.send(ack, from)
	if ping.Voted != nil && m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		m.accused(*ping.Voted, from, false)
	}
	if e := m.roster.look(from); e != nil && e.rank.dead {
		m.tell(from)
	}
}

func (m *Machine) ack(ping *Ping, l *link) *Ack {
	ack := &Ack{ID: ping.ID, State: m.own.State, Seq: m.own.Seq}
	if ping.Nonce != nil && l != nil && l.asks.take(m.now, asksPerSecond, asksAtOnce) {
		ack.Nonce, ack.Signature = ping.Nonce, m.sign(aliveBytes(m.cell, m.self, *ping.Nonce))
	}
	return ack
}

// Answer answers the one ping of a stream that carries nothing else: a fresh connection proves by it that not only
// the host but this machine is well. Anybody may ask; only neighbours get signatures.
func (m *Machine) Answer(ping *Ping) *Ack { return m.ack(ping, nil) }

func (m *Machine) sign(data []byte) []byte {
	sig, err := m.key.Sign(data)
	if err != nil {
		return nil // an Ed25519 key in memory does not fail
	}
	return sig
}

// hurriedAtOnce is how many turns in a row a subject may call for sooner than half a cycle, when it closes gaps; then one each half cycle.
const hurriedAtOnce = 4

// onAck takes a neighbour's answer.
func (m *Machine) onAck(from peer.ID, l *link, ack *Ack) {
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
		if soon := m.cycle() / 2; wait < soon && !p.hurried.take(m.now, 1/soon.Seconds(), hurriedAtOnce) {
			wait = soon
		}
		p.due = m.now.Add(min(max(wait, m.profile.Period/2), 2*m.cycle()))
	}
	if e := m.roster.look(from); e != nil && e.record != nil && ack.Seq > e.record.Seq {
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
		return max(m.profile.FirstTimeout, m.profile.TimeoutMax) + m.local.patience()
	}
	t := min(max(l.srtt+4*l.rttvar, m.profile.TimeoutMin), m.profile.TimeoutMax)
	return time.Duration(float64(t)*m.local.stretch()) + m.local.patience()
}
