package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// batchIDs is how many ids one step of a comparison is meant to list.
	batchIDs = 400
	// maxShown bounds the evidence that answers one list: two halves of a cell that meet again could show each other half the
	// cell in every comparison, and none of it would be taken. Whoever merely missed some is shown others the next time.
	maxShown = 32
	// sweepEvery is how often ended records, stale links and bans are looked for.
	sweepEvery = 10 * time.Second
)

// session is a comparison that this member leads: it lists what it holds in some buckets after the other, and the
// neighbour answers with what is newer and what it wants.
type session struct {
	todo  []byte // buckets that differ and have not been compared yet
	count int
}

// compare is called with what a new neighbour's Hello says of its list. A small list is handed whole to somebody who
// knows much less; else the one who knows more begins.
func (m *Machine) compare(from peer.ID, root uint64, count int) {
	mine := m.roster.alive
	switch {
	case root == m.roster.root() || !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce):
	case mine <= m.profile.Small && 2*count <= mine:
		m.pushRecords(m.alive(from), false, from)
	case mine > count || mine == count && m.self < from:
		m.sendBuckets(from)
	}
}

// alive lists the envelopes of the living, but one.
func (m *Machine) alive(but peer.ID) [][]byte {
	var out [][]byte
	for _, id := range m.roster.which(func(e *entry) bool { return e.rank.alive() && e.id != but }) {
		out = append(out, m.roster.look(id).record.Envelope)
	}
	return out
}

// pushRecords sends envelopes in as many frames as they need; quiet ones are not passed on at once.
func (m *Machine) pushRecords(envelopes [][]byte, quiet bool, to ...peer.ID) {
	for len(envelopes) > 0 {
		n, size := 0, 0
		for n < len(envelopes) && size < pushBudget {
			size += len(envelopes[n])
			n++
		}
		m.send(&Push{Records: envelopes[:n:n], Quiet: quiet}, to...)
		envelopes = envelopes[n:]
	}
}

// tickSync compares digests with one neighbour, and now and then greets somebody who counts as dead.
func (m *Machine) tickSync() {
	if m.now.Before(m.timers.sync) {
		return
	}
	m.timers.sync = m.now.Add(m.profile.Sync*3/4 + m.jitter(m.profile.Sync/2))
	open := slices.DeleteFunc(sorted(m.links), func(id peer.ID) bool { return !m.links[id].theirs })
	if len(open) > 0 {
		m.send(m.digest(), open[m.rand.IntN(len(open))])
	}
	m.greetDead()
}

// Greeting the dead is what heals a partition, and must not become a nuisance at an address where nobody is any more:
// the members of a cell together greet about greetings of the dead every Sync, and each one less as time passes.
const (
	greetings  = 4.0
	greetFully = time.Minute // after that, the longer somebody is dead the rarer
)

func (m *Machine) greetDead() {
	dead := m.roster.dead()
	if len(dead) == 0 {
		return
	}
	e := m.roster.look(dead[m.rand.IntN(len(dead))])
	chance := 1.0
	if n := m.rings.len(); n > 1 {
		chance = min(1, greetings/float64(n)) * min(1, float64(greetFully)/float64(m.now.Sub(e.ended.time())+1))
	}
	if m.rand.Float64() < chance {
		m.connect(e.id)
	}
}

// digest is what a neighbour needs to see whether there is anything to compare.
func (m *Machine) digest() *Root {
	return &Root{Root: m.roster.root(), Count: m.roster.alive, Trust: m.authority.Version()}
}

func (m *Machine) onRoot(from peer.ID, r *Root) {
	m.compareTrust(from, r.Trust)
	if r.Root != m.roster.root() && m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		m.sendBuckets(from)
	}
}

func (m *Machine) sendBuckets(to peer.ID) {
	m.send(&Buckets{m.roster.digest, m.roster.alive}, to)
}

// onBuckets begins a comparison of what differs.
func (m *Machine) onBuckets(from peer.ID, b *Buckets) {
	if !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		return
	}
	s := &session{count: max(b.Count, m.roster.alive)}
	for i := range b.Hashes {
		if b.Hashes[i] != m.roster.digest[i] {
			s.todo = append(s.todo, byte(i))
		}
	}
	if len(s.todo) == 0 {
		return
	}
	m.sessions[from] = s
	m.nextBatch(from, s)
}

// nextBatch lists what this member holds in the next few buckets.
func (m *Machine) nextBatch(with peer.ID, s *session) {
	if len(s.todo) == 0 {
		delete(m.sessions, with)
		return
	}
	n := min(len(s.todo), max(1, batchIDs*bucketCount/max(s.count, 1)))
	msg := &IDs{Buckets: s.todo[:n:n]}
	s.todo = s.todo[n:]
	for _, e := range m.inBuckets(msg.Buckets) {
		if len(msg.IDs) < maxListed {
			msg.IDs = append(msg.IDs, ID{e.id, e.rank.version(), uint32(e.sum)})
		}
	}
	m.send(msg, with)
}

// inBuckets lists the living of some buckets in order.
func (m *Machine) inBuckets(buckets []byte) []*entry {
	var in [bucketCount]bool
	for _, b := range buckets {
		in[b] = true
	}
	var out []*entry
	for _, id := range m.roster.which(func(e *entry) bool { return in[bucketOf(e.id)] && e.rank.alive() }) {
		out = append(out, m.roster.look(id))
	}
	return out
}

// onIDs answers a list: with what is newer here, then with what is newer there.
func (m *Machine) onIDs(from peer.ID, msg *IDs) {
	if !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		return
	}
	same := make(map[peer.ID]bool, len(msg.IDs))
	want := &Want{}
	var gone, doubtful []*entry
	for _, id := range msg.IDs {
		e := m.roster.look(id.Peer)
		theirs := rank{incarnation: id.Version.Incarnation, seq: id.Version.Seq}
		switch {
		case e == nil || theirs.compare(e.rank) > 0:
			want.Peers = append(want.Peers, id.Peer)
			same[id.Peer] = true
		case !e.rank.alive():
			gone = append(gone, e)
			if m.doubtful(e, id.Version) {
				doubtful = append(doubtful, e)
			}
		case theirs == e.rank && id.Sum == uint32(e.sum):
			same[id.Peer] = true
		case theirs == e.rank:
			want.Peers = append(want.Peers, id.Peer)
		}
	}
	m.shuffle(gone)
	m.show(from, gone[:min(len(gone), maxShown)]...)
	m.doubt(doubtful)
	var news [][]byte
	for _, e := range m.inBuckets(msg.Buckets) {
		if !same[e.id] {
			news = append(news, e.record.Envelope)
		}
	}
	m.pushRecords(news, false, from)
	want.Peers = want.Peers[:min(len(want.Peers), maxListed)]
	m.send(want, from)
}

// onWant hands over what was asked for and goes on with a comparison that waited for it.
func (m *Machine) onWant(from peer.ID, w *Want) {
	if !m.links[from].asks.take(m.now, asksPerSecond, asksAtOnce) {
		return
	}
	var records [][]byte
	var gone []*entry
	for _, id := range w.Peers {
		if e := m.roster.look(id); e != nil && e.record != nil && !e.rank.dead {
			records = append(records, e.record.Envelope)
		} else if e != nil {
			gone = append(gone, e)
		}
	}
	m.pushRecords(records, false, from)
	m.show(from, gone...)
	if s := m.sessions[from]; s != nil {
		m.nextBatch(from, s)
	}
}

// tickRings turns the ring whose day has come.
func (m *Machine) tickRings() {
	if m.now.Before(m.timers.turn) {
		return
	}
	m.timers.turn = m.rings.nextTurn(m.now)
	if m.rings.turn(m.now) {
		m.dirty = true
	}
}

// tickSweep forgets what has ended.
func (m *Machine) tickSweep() {
	if m.now.Before(m.timers.sweep) {
		return
	}
	m.timers.sweep = m.now.Add(sweepEvery)
	for _, id := range m.roster.which(func(e *entry) bool { return e.expires < stampOf(m.now) && e.id != m.self }) {
		m.unlist(m.roster.entry(id), Expired)
		m.roster.forget(id)
	}
	for _, e := range m.roster.entries {
		if e != nil {
			e.compact(m.now)
		}
	}
	for _, id := range sorted(m.links) {
		m.sweepLink(id, m.links[id])
	}
	clear(m.wanted)
	for id, changes := range m.changes {
		if m.now.Sub(changes.at) > changesAtOnce*time.Second/changesPerSecond {
			delete(m.changes, id)
		}
	}
	for id, until := range m.banned {
		if m.now.After(until) {
			delete(m.banned, id)
		}
	}
}

// sweepLink lets go of a link that has been unwanted long enough. The other end may go on using its own stream.
func (m *Machine) sweepLink(id peer.ID, l *link) {
	if l.wanted || l.until.After(m.now) {
		return
	}
	if !l.theirs {
		m.unlink(id)
	} else if !l.until.IsZero() {
		l.until = time.Time{}
		m.out.Links = append(m.out.Links, LinkChange{id, false})
	}
}
