package gossip

import (
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

const (
	maxHints  = 256              // peers waiting to be tried
	hintTries = 5                // tries of a hint, unless this member is alone
	hintFirst = time.Second      // wait after the first try, doubled with each
	hintLast  = 30 * time.Second // longest wait

	// One that was tried in vain is tried once more when it is named again, if it has rested, and is remembered for that.
	hintRest     = time.Minute
	hintKept     = 10 * time.Minute
	maxHintAddrs = 32 // that several ways have named together

	// Whoever is greeted by a newcomer hands it the whole list, so a few at a time are greeted until one has.
	hintsAtOnce = 4
	hintGap     = 250 * time.Millisecond
)

// hint is a peer said to be a member.
type hint struct {
	info  peer.AddrInfo
	next  time.Time
	tried time.Time // last
	tries int
}

// Join names peers that may be members. Each is tried a few times, and then once each time that it is named again, or as often
// as at first at an address that is new; while this member is alone, for as long as it is.
func (m *Machine) Join(now time.Time, peers []peer.AddrInfo) {
	m.enter(now)
	defer m.leaveInput()
	for _, info := range peers {
		if e := m.roster.look(info.ID); info.ID != m.self && (e == nil || !e.listed) {
			m.hint(info)
		}
	}
}

func (m *Machine) hint(info peer.AddrInfo) {
	h := m.hints[info.ID]
	switch {
	case h == nil:
		if len(m.hints) < maxHints || m.forgetHint() {
			m.hints[info.ID] = &hint{info: info, next: m.now}
		}
	case m.rings.len() == 1: // there is nothing better to do
		*h = hint{info: info, next: m.now}
	case h.learn(info.Addrs):
		h.tries, h.next = 0, m.now
	case h.tries >= hintTries && m.now.Sub(h.tried) >= hintRest:
		h.tries, h.next = hintTries-1, m.now
	}
}

// learn adds addresses, and reports whether one of them is new. Several ways may name different ones in turn.
func (h *hint) learn(addrs []ma.Multiaddr) bool {
	fresh := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return ma.Contains(h.info.Addrs, a) })
	if len(fresh) == 0 {
		return false
	}
	if h.info.Addrs = append(fresh, h.info.Addrs...); len(h.info.Addrs) > maxHintAddrs {
		h.info.Addrs = addrs
	}
	return true
}

// inVain reports whether a hint has been tried often enough. Who is alone never holds one for that.
func (m *Machine) inVain(h *hint) bool { return h.tries >= hintTries && m.rings.len() > 1 }

// forgetHint forgets the one tried in vain that was tried longest ago, if there is any.
func (m *Machine) forgetHint() bool {
	var oldest *hint
	for _, id := range sorted(m.hints) {
		if h := m.hints[id]; m.inVain(h) && (oldest == nil || h.tried.Before(oldest.tried)) {
			oldest = h
		}
	}
	if oldest != nil {
		delete(m.hints, oldest.info.ID)
	}
	return oldest != nil
}

func (m *Machine) tickHints() {
	greeted := 0
	for _, id := range sorted(m.hints) {
		h := m.hints[id]
		if h.next.After(m.now) {
			continue
		}
		forget := h.tried.Add(hintKept)
		if e := m.roster.look(id); e != nil && e.listed || m.inVain(h) && !m.now.Before(forget) {
			delete(m.hints, id)
			continue
		}
		if m.inVain(h) {
			h.next = forget
			continue
		}
		if greeted++; greeted > hintsAtOnce && m.rings.len() == 1 {
			h.next = m.now.Add(hintGap)
			continue
		}
		m.greet(h.info)
		wait := min(hintFirst<<min(h.tries, 8), hintLast)
		h.tries++
		h.tried = m.now
		h.next = m.now.Add(wait/2 + m.jitter(wait))
	}
}

// Hello returns the first frame of a new stream.
func (m *Machine) Hello() *Hello {
	return &Hello{Record: m.own.Envelope, Count: m.roster.alive, Root: m.roster.root(), Trust: m.authority.Version()}
}

// onHello takes the beginning of a neighbour's stream. A record that is not the sender's own, or that is refused,
// ends it.
func (m *Machine) onHello(from peer.ID, h *Hello) {
	rec, err := m.open(h.Record)
	if err != nil || rec.Peer != from {
		m.out.Refuses = append(m.out.Refuses, from)
		return
	}
	l := m.link(from)
	if e := m.roster.look(from); e != nil && (rec.Incarnation != e.rank.incarnation ||
		e.rank.dead && m.now.Sub(l.heard) > m.profile.FirstTimeout) {
		m.out.Reopens = append(m.out.Reopens, from) // our stream led to another life, or process, or into a partition
	}
	if !l.theirs {
		l.theirs = true
		m.out.Connects = append(m.out.Connects, peer.AddrInfo{ID: from}) // our Hello answers theirs
	}
	delete(m.hints, from)
	if bearing := m.bearing(rec); m.learn(rec) {
		m.spread(rec, from, bearing)
	} else if e := m.roster.look(from); e != nil && rankOf(rec).compare(e.rank) < 0 {
		m.tell(from) // it has lived before, or is thought dead: it must go above that
	}
	m.heardFrom(from, l)
	if p := m.probes[from]; p != nil && p.stage == idle && l.srtt == 0 {
		p.due = m.now
	}
	m.compareTrust(from, h.Trust)
	m.compare(from, h.Root, h.Count)
}

// open verifies a record and asks whether it may be a member's.
func (m *Machine) open(envelope []byte) (*record.Signed, error) {
	rec, err := m.verify.record(envelope, m.cell, m.now)
	if err != nil || rec.Peer == m.self {
		return rec, err
	}
	return rec, m.authority.Admit(rec, m.now)
}

// learnFrom takes records from a neighbour and passes on what was new.
func (m *Machine) learnFrom(from peer.ID, envelopes [][]byte, quiet bool) {
	var doubtful []*entry
	for _, envelope := range envelopes {
		if m.isBanned(from) {
			return // what it sends is not worth another look
		}
		rec, err := m.open(envelope)
		if err != nil {
			if worthless(err) {
				m.strike(from)
			}
			continue
		}
		bearing := m.bearing(rec)
		switch {
		case rec.Peer == m.self:
			m.sawSelf(rec)
		case m.learn(rec):
			if !quiet {
				m.spread(rec, from, bearing)
			}
		default:
			m.held(rec.Peer, rankOf(rec), from)
			if e := m.roster.look(rec.Peer); m.doubtful(e, Version{rec.Incarnation, rec.Seq}) {
				doubtful = append(doubtful, e)
			}
		}
	}
	m.doubt(doubtful)
}

// worthless reports whether a record is refused for what every member sees in it, whatever its clock and its trust document.
func worthless(err error) bool {
	var refusal *record.Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	switch refusal.Code {
	case record.CodeExpired, record.CodeFuture, record.CodeNotYet, record.CodeRevoked, record.CodeTrust, record.CodeIssuer:
		return false
	}
	return true
}

// learn takes an admitted record of another member and reports whether it was new.
func (m *Machine) learn(rec *record.Signed) bool {
	if m.roster.look(rec.Peer) == nil && m.roster.full() || !m.roster.apply(rec) {
		return false
	}
	e := m.roster.entry(rec.Peer)
	e.heard = stampOf(m.now)
	if e.rank.left {
		m.unlist(e, Left)
		return true
	}
	kind := Updated
	switch {
	case !e.listed:
		kind = Joined
		m.grown = m.now
		e.listed = true
		m.rings.add(e.id)
		m.dirty = true
	case e.suspected:
		kind = Refuted
	}
	m.condemned.remove(e)
	e.suspected = false
	m.emit(kind, e)
	m.restart(e)
	return true
}

// restart ends a round against an older record of a member. The new one may have been under way for long, so the
// member is looked at once more, now.
func (m *Machine) restart(e *entry) {
	if p := m.probes[e.id]; p != nil && p.stage != idle {
		p.stage, p.votes, p.since = idle, nil, time.Time{}
		p.forOther = false
		p.due = m.now
	}
}

func (m *Machine) onPush(from peer.ID, push *Push) {
	if push.Trust != nil {
		m.onTrust(from, push.Trust)
	}
	m.learnFrom(from, push.Records, push.Quiet)
	for _, d := range push.Deaths {
		m.onDeath(from, d)
	}
}
