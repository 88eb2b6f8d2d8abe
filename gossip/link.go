package gossip

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxStrikes is how many worthless signatures a neighbour may send before it is shut out. One a second is
	// forgiven: clocks and views differ.
	maxStrikes, strikesForgiven = 32, 1
	// banFor is how long a neighbour stays shut out.
	banFor = time.Minute
	// dialDelay is how long, of two members who observe each other, the one with the higher ID leaves dialling to the
	// other, so that one connection is made and not two.
	dialDelay = time.Second
	// growing is how long after somebody has joined a cell above a mesh new neighbours are not dialled.
	growing = 500 * time.Millisecond
)

// link is a neighbour: somebody to whom changes are pushed.
type link struct {
	wanted  bool // by this member: a subject, an observer, or a random link
	theirs  bool // it has opened a stream to us and said Hello
	until   time.Time
	heard   time.Time
	srtt    time.Duration // zero before the first sample
	rttvar  time.Duration
	rough   bool      // srtt is of the first ping alone, which may have waited for a dial
	detours int       // rounds in a row that only a detour around this link answered
	strikes allowance // of worthless signatures
	asks    allowance // of work for the neighbour
	looks   allowance // at others, whom it takes for dead
	// accusations are certificates against this member that do not suffice here.
	accusations allowance
	told        time.Time // when it was last told of its own death
	failed      bool      // our last stream to it broke or could not be opened, and it has said nothing since
}

// sample takes a measured round trip (RFC 6298, section 2). The second one takes the place of the first, which holds the dial of
// the link: with a sample every eight seconds its timeouts were too long for minutes.
func (l *link) sample(rtt time.Duration) {
	if l.srtt == 0 || l.rough {
		l.rough = l.srtt == 0
		l.srtt, l.rttvar = rtt, rtt/2
		return
	}
	l.rttvar += ((l.srtt - rtt).Abs() - l.rttvar) / 4
	l.srtt += (rtt - l.srtt) / 8
}

// allowance is a token bucket without a clock.
type allowance struct {
	spent float64
	at    time.Time
}

// take reports whether one more is allowed, at a rate per second and with a burst.
func (a *allowance) take(now time.Time, rate, burst float64) bool {
	a.spent = max(0, a.spent-now.Sub(a.at).Seconds()*rate)
	a.at = now
	if a.spent >= burst {
		return false
	}
	a.spent++
	return true
}

// give takes one back.
func (a *allowance) give() { a.spent = max(0, a.spent-1) }

// relinkAt is when the neighbourhood is computed anew, after a change of members or of a ring's order: at once, but above a
// mesh changes that follow each other within Gather are taken together. When half of 1,000 died, a third of all work was this.
func (m *Machine) relinkAt() time.Time {
	if m.rings.len() <= m.profile.Mesh {
		return m.now
	}
	return m.relinked.Add(m.profile.Gather)
}

func (m *Machine) tickRelink() {
	if !m.dirty || m.relinkAt().After(m.now) {
		return
	}
	m.dirty, m.relinked = false, m.now
	subjects, observers := m.rings.subjects(m.self), m.rings.observers(m.self)
	m.observers = observers
	m.watch(subjects)
	m.reschedule()
	m.pickRandom(subjects, observers)
	m.relays = m.rings.successors(m.self, relayRings)
	m.relays = append(m.relays, m.random[:min(len(m.random), 1)]...)
	wanted := make(map[peer.ID]bool)
	for _, list := range [][]peer.ID{subjects, observers, m.random} {
		for _, id := range list {
			wanted[id] = true
		}
	}
	for _, id := range sorted(m.links) {
		if l := m.links[id]; l.wanted && !wanted[id] {
			l.wanted, l.until = false, m.now.Add(m.profile.Linger)
		}
	}
	for _, id := range sorted(wanted) {
		m.keep(id)
	}
}

// link returns the link to a peer and makes one if there is none.
func (m *Machine) link(id peer.ID) *link {
	l := m.links[id]
	if l == nil {
		l = &link{}
		m.links[id] = l
	}
	return l
}

// keep makes sure of a link that is wanted.
func (m *Machine) keep(id peer.ID) {
	l := m.link(id)
	if !l.wanted {
		l.wanted = true
		m.out.Links = append(m.out.Links, LinkChange{id, true})
	}
}

// watch begins to probe new subjects and lets go of old ones who are well.
func (m *Machine) watch(subjects []peer.ID) {
	mine := make(map[peer.ID]bool, len(subjects))
	for _, id := range subjects {
		mine[id] = true
		if p := m.probes[id]; p != nil {
			p.hearsay = false
			continue
		}
		delay := time.Duration(0)
		if l := m.links[id]; l == nil || !l.theirs {
			delay = m.dialDelay(id)
		}
		m.probes[id] = &probe{subject: id, due: m.now.Add(delay)}
	}
	for id, p := range m.probes {
		if !mine[id] && p.stage == idle {
			delete(m.probes, id)
		} else if !mine[id] {
			p.hearsay = true // goes when its round is over
		}
	}
}

// dialDelay is how long a new subject without a link is left alone. Of two members of a mesh the one with the lower ID
// dials. In a cell that grows, neighbours are soon others: without the wait, 128 members that started at once dialled
// twice as many as they kept, and took each other for dead meanwhile.
func (m *Machine) dialDelay(id peer.ID) time.Duration {
	switch {
	case m.rings.len() <= m.profile.Mesh && m.self > id:
		return dialDelay
	case m.rings.len() > m.profile.Mesh && m.now.Sub(m.grown) < growing:
		return growing
	}
	return 0
}

// reschedule closes the gap that a former observer, or a condemned one, leaves among the turns of the others.
func (m *Machine) reschedule() {
	living := slices.DeleteFunc(slices.Clone(m.observers), func(id peer.ID) bool {
		e := m.roster.look(id)
		return e == nil || e.rank.dead
	})
	moved := m.slots.only(m.now, m.profile.Period, living)
	for _, id := range sorted(moved) {
		if l := m.links[id]; l != nil && l.theirs {
			m.send(&Ack{Next: moved[id].Round(time.Millisecond), State: m.own.State, Seq: m.own.Seq}, id)
		}
	}
}

// pickRandom fills up the links beside the rings. In a full mesh there is nobody left for them.
func (m *Machine) pickRandom(subjects, observers []peer.ID) {
	m.random = slices.DeleteFunc(m.random, func(id peer.ID) bool {
		return !m.rings.has(id) || slices.Contains(subjects, id) || slices.Contains(observers, id)
	})
	if m.rings.len() <= m.profile.Mesh {
		m.random = nil
		return
	}
	for try := 0; try < 8*m.profile.RandomLinks && len(m.random) < m.profile.RandomLinks; try++ {
		id := m.rings.order[0].draw(m.rand)
		taken := id == m.self || slices.Contains(m.random, id) || slices.Contains(subjects, id) || slices.Contains(observers, id)
		if !taken {
			m.random = append(m.random, id)
			m.connect(id)
		}
	}
}

// connect opens a link to a member whose addresses its record names.
func (m *Machine) connect(id peer.ID) {
	if e := m.roster.look(id); e != nil && e.record != nil {
		m.greet(peer.AddrInfo{ID: id, Addrs: e.record.Addrs})
	}
}

// greet says Hello to a peer. Of a link that nobody wants, the end that greeted lets go first, and the other follows.
func (m *Machine) greet(info peer.AddrInfo) {
	if l := m.link(info.ID); !l.wanted && !l.theirs {
		l.until = m.now.Add(m.profile.Linger)
	}
	m.out.Connects = append(m.out.Connects, info)
}

// Closed says that the last stream of a peer to us has ended. It proves nothing about the peer; it makes us look.
func (m *Machine) Closed(now time.Time, id peer.ID) {
	m.enter(now)
	defer m.leaveInput()
	if l := m.links[id]; l != nil {
		l.theirs = false
		m.lookAfter(id, l)
	}
}

// Broken says that our stream to a peer broke or could not be opened. It proves as little.
func (m *Machine) Broken(now time.Time, id peer.ID) {
	m.enter(now)
	defer m.leaveInput()
	if l := m.links[id]; l != nil {
		l.failed = true
		m.lookAfter(id, l)
	}
}

// lookAfter probes a subject whose stream has ended, unless that was done just now.
func (m *Machine) lookAfter(id peer.ID, l *link) {
	delete(m.sessions, id)
	if p := m.probes[id]; p != nil && p.stage == idle && !m.left && m.now.Sub(p.asked) > m.profile.TimeoutMin {
		p.due = m.now
	}
	if !l.theirs {
		l.until = m.now.Add(sweepEvery) // it may come back on another stream
	}
}

func (m *Machine) unlink(id peer.ID) {
	delete(m.links, id)
	delete(m.sessions, id)
	m.out.Links = append(m.out.Links, LinkChange{id, false})
}

// heardFrom notes that a frame came from a peer: proof that it lived when it was sent.
func (m *Machine) heardFrom(from peer.ID, l *link) {
	l.heard, m.local.heard, l.failed = m.now, m.now, false
	if e := m.roster.entry(from); e != nil {
		e.heard = stampOf(m.now)
	}
	if p := m.probes[from]; p != nil && p.stage >= again {
		m.resolve(p, true)
	}
}

func (m *Machine) strike(from peer.ID) {
	if l := m.links[from]; l != nil && !l.strikes.take(m.now, strikesForgiven, maxStrikes) {
		m.banned[from] = m.now.Add(banFor)
		m.unlink(from)
		m.out.Refuses = append(m.out.Refuses, from)
	}
}

func (m *Machine) isBanned(id peer.ID) bool {
	until, ok := m.banned[id]
	return ok && m.now.Before(until)
}

// neighbours lists all links but some, for a push.
func (m *Machine) neighbours(but ...peer.ID) []peer.ID {
	out := make([]peer.ID, 0, len(m.links))
	for _, id := range sorted(m.links) {
		if l := m.links[id]; (l.theirs || l.wanted) && !slices.Contains(but, id) {
			out = append(out, id)
		}
	}
	return out
}

// tickLinks exchanges one of the random links.
func (m *Machine) tickLinks() {
	if m.now.Before(m.timers.rotate) {
		return
	}
	m.timers.rotate = m.now.Add(m.profile.Rotate/2 + m.jitter(m.profile.Rotate))
	if len(m.random) > 0 {
		i := m.rand.IntN(len(m.random))
		m.random = slices.Delete(m.random, i, i+1)
		m.dirty = true
	}
}

// sorted returns a map's keys in order: a run must not depend on the order of maps.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
