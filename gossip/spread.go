package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// news is a record or a death on its way through this member: to those of its neighbours who have not shown that they
// hold it.
type news struct {
	record *record.Signed // or nil
	death  *Certificate   // or nil
	made   time.Time      // of the certificate, as far as it is known
	urgent bool           // a record: to all neighbours, not to the relays alone
	pushed bool           // a death: two relays have been sent it, the others are told that it can be had
	had    []*link        // who has sent it, or been sent it: some twenty
}

// rank is what the news come to.
func (n *news) rank() rank {
	if n.death != nil {
		return rankOfDeath(n.death.Version)
	}
	return rankOf(n.record)
}

// relayRings is on how many of the rings a record is passed on, beside one random link. Its owner has sent it to all of
// its own neighbours; along 4 rings and a random link it reaches everybody else within a few hops, at a fifth of the
// messages of a flood along all links. A member whose 5 predecessors are all liars hears of it by anti-entropy.
const relayRings = 4

// floodsPerSecond, and floodsAtOnce in a burst, bound how many deaths a member passes on along all of its links at once. Some
// twenty copies of each certificate are the price of the quickest and surest way, and too high when a thousand die together.
const floodsPerSecond, floodsAtOnce = 1, 8

// askAgain is how long a neighbour that has offered a death has to show it before another one is asked, who offers it later.
const askAgain = 250 * time.Millisecond

// changesPerSecond, and changesAtOnce in a burst, bound how many records of one owner a member passes on, but for refutations of what it
// believes: a liar could renew its own without end. What is not passed on goes by anti-entropy.
const changesPerSecond, changesAtOnce = 1, 8

// bearing is what a record means for its owner's life.
type bearing uint8

const (
	ordinary bearing = iota
	accused          // the owner is accused, or it leaves
	refuting         // the owner's window to refute runs
)

// bearing returns that of a record that is not learned yet.
func (m *Machine) bearing(rec *record.Signed) bearing {
	e := m.roster.look(rec.Peer)
	switch {
	case e != nil && !e.dropAt.IsZero():
		return refuting
	case rec.State == record.Leaving || e != nil && (e.suspected || e.rank.dead):
		return accused
	}
	return ordinary
}

// spread passes a record on that was new here. The first in a while goes at once; what follows within Gather goes
// together, and not to those who have sent it meanwhile: when many members start at once, nearly all of them have.
// What decides on life and death, a leave or a refutation, is urgent.
func (m *Machine) spread(rec *record.Signed, from peer.ID, b bearing) {
	changes := m.changes[rec.Peer]
	if changes == nil {
		changes = &allowance{}
		m.changes[rec.Peer] = changes
	}
	if b == refuting || changes.take(m.now, changesPerSecond, changesAtOnce) {
		m.gather(rec.Peer, &news{record: rec, urgent: b != ordinary, had: []*link{m.links[from]}})
	}
}

// spreadDeath passes a certificate on that was new here: along all links at once, or, when there are many, gathered and to two
// neighbours alone. The others are told a moment later that it can be had, and ask for it if they have not got it by then:
// eager push along a few links and lazy push along the others (Plumtree, Leitão et al., SRDS 2007). What this member has
// certified itself goes along all links always.
func (m *Machine) spreadDeath(c *Certificate, age time.Duration, from peer.ID) {
	if from == m.self || m.floods.take(m.now, floodsPerSecond, floodsAtOnce) {
		delete(m.news, c.Subject)
		m.pushDeaths([]Death{{c, age.Truncate(time.Millisecond)}}, m.neighbours(from)...)
		return
	}
	subject := m.links[c.Subject]
	if subject != nil {
		m.pushDeaths([]Death{{c, age.Truncate(time.Millisecond)}}, c.Subject) // it may refute
	}
	m.gather(c.Subject, &news{death: c, made: m.now.Add(-age), had: []*link{m.links[from], subject}})
}

func (m *Machine) gather(about peer.ID, n *news) {
	m.news[about] = n
	if m.timers.spread.IsZero() {
		m.timers.spread = m.spreadAt.Add(m.profile.Gather)
	}
}

// held notes that a neighbour knows something, which it has just sent.
func (m *Machine) held(about peer.ID, r rank, by peer.ID) {
	if n := m.news[about]; n != nil && n.rank() == r && !slices.Contains(n.had, m.links[by]) {
		n.had = append(n.had, m.links[by])
	}
}

// What becomes of one piece of news for one neighbour.
const (
	markNothing = '-'
	markPush    = 'p' // it is sent
	markOffer   = 'o' // the neighbour is told that it can be had
)

// tickSpread sends what has been gathered. Neighbours that lack the same get the same frames.
func (m *Machine) tickSpread() {
	if m.timers.spread.IsZero() || m.timers.spread.After(m.now) {
		return
	}
	for id, n := range m.news {
		if e := m.roster.look(id); e == nil || e.rank != n.rank() {
			delete(m.news, id) // overtaken: a refutation, or a death
		}
	}
	ids := sorted(m.news)
	groups := make(map[string][]peer.ID)
	for _, to := range m.neighbours() {
		marks := m.marks(ids, to)
		groups[marks] = append(groups[marks], to)
	}
	for _, marks := range sorted(groups) {
		m.sendNews(ids, marks, groups[marks])
	}
	m.spreadAt, m.timers.spread = m.now, time.Time{}
	for id, n := range m.news {
		if n.death == nil || n.pushed {
			delete(m.news, id)
			continue
		}
		n.pushed, m.timers.spread = true, m.now.Add(m.profile.Gather)
	}
}

// marks says what becomes of each of the news for a neighbour.
func (m *Machine) marks(ids []peer.ID, to peer.ID) string {
	marks := make([]byte, len(ids))
	l := m.links[to]
	for i, id := range ids {
		n := m.news[id]
		switch {
		case id == to || slices.Contains(n.had, l):
			marks[i] = markNothing
		case n.pushed:
			marks[i] = markOffer
		case m.eager(n, to):
			marks[i], n.had = markPush, append(n.had, l)
		default:
			marks[i] = markNothing
		}
	}
	return string(marks)
}

// eager reports whether a neighbour is sent news unasked: an urgent record anybody is, others the relays, and a death two of them,
// the first of a ring and the random one.
func (m *Machine) eager(n *news, to peer.ID) bool {
	if n.death == nil {
		return n.urgent || slices.Contains(m.relays, to)
	}
	last := len(m.relays) - 1
	return last >= 0 && (to == m.relays[0] || to == m.relays[last])
}

// sendNews does what the marks say, for neighbours with the same.
func (m *Machine) sendNews(ids []peer.ID, marks string, to []peer.ID) {
	var records [][]byte
	var deaths []Death
	var offers []ID
	for i, id := range ids {
		switch n := m.news[id]; {
		case marks[i] == markOffer:
			offers = append(offers, ID{Peer: id, Version: n.death.Version})
		case marks[i] == markPush && n.death != nil:
			deaths = append(deaths, Death{n.death, m.now.Sub(n.made).Truncate(time.Millisecond)})
		case marks[i] == markPush:
			records = append(records, n.record.Envelope)
		}
	}
	m.pushRecords(records, false, to...)
	m.pushDeaths(deaths, to...)
	for some := range slices.Chunk(offers, maxListed) {
		m.send(&Have{some}, to...)
	}
}

// onHave asks for the deaths that are new here.
func (m *Machine) onHave(from peer.ID, h *Have) {
	if !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		return
	}
	want := &Want{}
	for _, id := range h.Deaths {
		dead := rankOfDeath(id.Version)
		m.held(id.Peer, dead, from)
		e := m.roster.look(id.Peer)
		if e == nil || dead.compare(e.rank) <= 0 || m.now.Sub(m.wanted[id.Peer]) < askAgain || len(want.Peers) >= maxListed {
			continue
		}
		m.wanted[id.Peer] = m.now
		want.Peers = append(want.Peers, id.Peer)
	}
	if len(want.Peers) > 0 {
		m.send(want, from)
	}
}
