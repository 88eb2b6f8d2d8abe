package find

import (
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

// Limits and times of a table.
const (
	// maxEntries bounds what one tracker remembers. Above it a bare hint is taken in place of a candidate that has not
	// answered, and one with a record or from our own files also in place of a bare hint that nobody has asked yet.
	maxEntries = 512
	// maxLeft bounds the goodbyes that are remembered; forgetting them costs probes.
	maxLeft = 8 * maxEntries
	// maxAddrs bounds the addresses of one candidate that no record names: as many as a record may.
	maxAddrs = record.MaxAddrs
	// aliveProbe is how often a live instance is probed for its RTT while somebody pushes changes to us, and
	// lonelyProbe while nobody does.
	aliveProbe  = 15 * time.Second
	lonelyProbe = 2 * time.Second
	// watched is how many live instances are probed that often, the nearest; the others every farProbe. Calls go to
	// 16 at most, and of a large cell a client knows hundreds.
	watched  = 64
	farProbe = 2 * time.Minute
	// Warm is how long a Tracker's dialer keeps unused connections: from one probe to the next.
	Warm = aliveProbe + 5*time.Second
	// An instance that fails a call is probed at once; one that does so again within demotedFor, though it answers probes,
	// after demotedMin, twice that, and so on up to demotedMax.
	demotedFor = 10 * time.Second
	demotedMin = 100 * time.Millisecond
	demotedMax = 2 * time.Second
	// A candidate that does not answer is asked again after retryMin, twice that, and so on up to retryMax; one
	// that never answered is forgotten after forgetAfter failures.
	// An instance whose grant is not taken is asked for its trust document once in trustPause.
	trustPause  = time.Minute
	retryMin    = 500 * time.Millisecond
	retryMax    = 30 * time.Second
	forgetAfter = 6
)

// table is what a tracker knows, as plain data: candidates, answers and goodbyes in, the list and the next probes
// out. It has no clock, goroutine or lock.
type table struct {
	entries map[peer.ID]*entry
	left    map[peer.ID]uint64 // incarnations that said goodbye: nothing older comes back
	version uint64             // grows with each change that a reader of the list can see
	list    []Instance         // what instances returned last; nil when something has happened since
}

type entry struct {
	peer     peer.ID
	addrs    []ma.Multiaddr
	trusted  bool
	record   *record.Signed
	socket   string
	self     bool
	sources  []string // sorted; a new slice for each change, since instances share it
	live     bool
	suspect  bool
	accused  bool // others hold it for dead, and it has not answered since
	state    record.State
	rtt      time.Duration
	path     string
	commit   string
	print    string
	since    time.Time
	failures int
	err      error     // why it is not live
	probed   time.Time // when the last probe ended
	due      time.Time // of the next probe
	probing  bool
	listless time.Time // before this it is not asked for its list again, for it has sent none
	untaught time.Time // before this it is not asked for its trust document again
	far      bool      // there were enough nearer ones when it last answered
	again    bool      // something new was heard while a probe was on its way
	// demotions counts the calls that it has failed, each within demotedFor of the one before. After the first it is worth
	// waiting for: doubted is true until it has been asked whether it is there.
	demotions int
	demotedAt time.Time
	doubted   bool
	// alarms counts the reports of its death that it has disproved; before believe the next one has to wait.
	alarms  int
	believe time.Time
}

func newTable() *table {
	return &table{entries: map[peer.ID]*entry{}, left: map[peer.ID]uint64{}}
}

// found takes a candidate and reports whether it is new to the table.
func (t *table) found(c Candidate, now time.Time) bool {
	if c.Record != nil && (c.Record.Peer != c.Peer || c.Record.State == record.Leaving || c.Record.Incarnation <= t.left[c.Peer]) {
		return false
	}
	e, known := t.entries[c.Peer]
	if !known {
		if len(t.entries) >= maxEntries && !t.makeRoom(c) {
			return false
		}
		e = &entry{peer: c.Peer, due: now}
		t.entries[c.Peer] = e
	}
	t.list = nil
	if at, named := slices.BinarySearch(e.sources, c.Way); !named {
		e.sources = slices.Insert(slices.Clone(e.sources), at, c.Way)
		t.version++
	}
	e.trusted = e.trusted || c.Trusted
	before := e.record
	news := e.merge(c)
	switch {
	case c.Self || c.Socket != "":
		t.admitLocal(e, c, now)
	case known && news && e.probing:
		e.again = true
	case known && news && !e.live:
		e.due, e.failures = now, 0
	case known && news && c.Record != nil:
		// A newer record of a live instance may carry another state; its own word, so it is believed at once.
		if e.record.State != e.state {
			e.state = e.record.State
			t.version++
		}
		if before == nil || e.record.Incarnation > before.Incarnation { // another process, which may run something else
			e.due = now
			t.version++
		} else if !slices.EqualFunc(e.record.Addrs, before.Addrs, ma.Multiaddr.Equal) {
			t.version++
		}
	}
	return !known
}

// makeRoom forgets the least promising candidate in favour of c, and reports whether there was one. It keeps a flood of
// invented peers from shutting out those that can be true.
func (t *table) makeRoom(c Candidate) bool {
	better := c.Trusted || c.Record != nil
	var worst *entry
	for _, e := range t.entries {
		if e.live || e.probing || e.trusted || e.record != nil || e.err == nil && !better {
			continue
		}
		if worst == nil || e.failures > worst.failures {
			worst = e
		}
	}
	if worst == nil {
		return false
	}
	delete(t.entries, worst.peer)
	return true
}

// merge takes over what the candidate adds: a newer record with its addresses, or addresses where there is none or where
// those of the record have failed.
func (e *entry) merge(c Candidate) (news bool) {
	if c.Record != nil && c.Record.Newer(e.record) {
		e.record = c.Record
		e.addrs = slices.Clone(c.Record.Addrs)
		news = true
	}
	for _, a := range c.Addrs {
		if len(e.addrs) >= 2*maxAddrs {
			break
		}
		if !slices.ContainsFunc(e.addrs, a.Equal) {
			e.addrs = append(e.addrs, a)
			news = news || e.record == nil || e.err != nil
		}
	}
	return news
}

func (t *table) admitLocal(e *entry, c Candidate, now time.Time) {
	before := *e
	if !e.live {
		e.since = now
	}
	e.doubted = false
	e.live, e.state, e.path, e.rtt, e.err = true, record.Serving, Local, 0, nil
	e.self, e.socket = c.Self, c.Socket
	if c.Record != nil {
		e.state, e.commit, e.print = c.Record.State, c.Record.Commit, c.Record.Fingerprint
	} else {
		e.commit, e.print = c.Commit, c.Fingerprint
	}
	if !before.live || before.state != e.state || before.socket != e.socket {
		t.version++
	}
}

// answer is what a probe brought.
type answer struct {
	rtt         time.Duration
	path        string
	state       record.State
	commit      string
	fingerprint string
	record      *record.Signed
	rough       bool // the RTT is that of one exchange, made in a hurry
}

// answered takes an instance's own answer.
func (t *table) answered(id peer.ID, a answer, now time.Time) {
	e := t.entries[id]
	if e == nil {
		return
	}
	t.list = nil
	e.probing, e.doubted, e.probed = false, false, now
	if a.state == record.Leaving {
		t.leave(id, a.record.Incarnation)
		return
	}
	if a.record.Newer(e.record) {
		e.record = a.record
		e.addrs = slices.Clone(a.record.Addrs)
	}
	was := e.live
	if !e.live {
		e.live, e.since = true, now
	}
	if e.suspect {
		e.believe = now.Add(min(aliveProbe, lonelyProbe<<min(e.alarms, 10)))
		e.alarms++
	}
	e.failures, e.err, e.due, e.far = 0, nil, now.Add(aliveProbe), t.nearer(a.rtt) >= watched
	if e.far {
		e.due = now.Add(farProbe)
	}
	if a.rough {
		e.due = now.Add(lonelyProbe)
	}
	if e.again {
		e.again, e.due = false, now
	}
	e.rtt, e.commit, e.print = a.rtt, a.commit, a.fingerprint
	if !was || e.suspect || e.state != a.state || e.path != a.path {
		t.version++
	}
	e.state, e.path, e.suspect, e.accused = a.state, a.path, false, false
}

// nearer is how many live instances are nearer than this.
func (t *table) nearer(rtt time.Duration) (n int) {
	for _, e := range t.entries {
		if e.live && e.rtt < rtt {
			n++
		}
	}
	return n
}

// failed takes a probe that brought nothing usable. A live instance is asked once more at once, because one lost
// exchange is not a death; the second failure in a row prunes it. It reports whether the instance is dead: others hold it
// for that, and it does not answer us either.
func (t *table) failed(id peer.ID, err error, final bool, now time.Time) (dead bool) {
	e := t.entries[id]
	if e == nil {
		return false
	}
	e.probing, e.doubted, e.probed = false, false, now
	e.failures++
	if e.live && e.failures < 2 && !final {
		e.due = now
		return false
	}
	if e.live {
		e.live, e.suspect, e.alarms = false, false, 0
		t.version++
	}
	t.list = nil
	e.err = err
	e.due = now.Add(min(retryMax, retryMin<<min(e.failures-1, 10)))
	if e.again {
		e.again, e.due = false, now
	}
	if e.failures >= forgetAfter && !e.trusted {
		delete(t.entries, id)
	}
	return e.accused
}

// gone takes word of an end. Only the instance's own signed goodbye removes it; anything else makes a probe due, at
// once for the first report, and the later the more of them the instance has disproved: who lies about a death doubles
// our probes of that instance at most. It reports what failed does.
func (t *table) gone(g Gone, now time.Time) (dead bool) {
	if g.Leave != nil && g.Leave.Peer == g.Peer && g.Leave.State == record.Leaving {
		t.leave(g.Peer, g.Leave.Incarnation)
		return false
	}
	e := t.entries[g.Peer]
	if e == nil || e.self || e.record != nil && e.record.Incarnation > g.Incarnation {
		return false
	}
	if !e.live {
		e.accused = true
		return e.failures > 0
	}
	if now.Before(e.believe) {
		if e.due.After(e.believe) {
			e.due = e.believe
		}
		return false
	}
	e.doubt(now)
	e.suspect, e.accused = true, true
	t.list = nil
	t.version++
	return false
}

// demote takes an instance that failed a call out of the choice until it has answered a probe, or, with a local socket,
// until that is named again.
func (t *table) demote(i Instance, err error, now time.Time) {
	e := t.entries[i.Peer]
	if e == nil || !e.live { // or another call has failed there as well
		return
	}
	if e.socket != i.Socket {
		e.doubt(now)
		return
	}
	e.live, e.socket, e.err = false, "", err
	t.list = nil
	t.version++
	if now.Sub(e.demotedAt) > demotedFor {
		e.demotions = 0
	}
	e.doubted, e.demotedAt = e.demotions == 0, now
	e.doubt(now)
	if e.demotions++; e.demotions > 1 && !e.probing {
		e.due = now.Add(min(demotedMax, demotedMin<<min(e.demotions-2, 10)))
	}
}

// busy takes a probe that was turned away because the instance is at one of its limits: it is there.
func (t *table) busy(id peer.ID, err error, now time.Time) {
	e := t.entries[id]
	if e == nil || !e.live {
		t.failed(id, err, false, now)
		return
	}
	if e.suspect {
		t.list = nil
		t.version++
	}
	e.probing, e.again, e.suspect, e.accused = false, false, false, false
	e.failures, e.probed, e.due = 0, now, now.Add(lonelyProbe)
}

// leave removes an instance that said goodbye itself, unless it has started anew since.
func (t *table) leave(id peer.ID, incarnation uint64) {
	if len(t.left) >= maxLeft {
		clear(t.left)
	}
	t.left[id] = max(t.left[id], incarnation)
	if e := t.entries[id]; e != nil && (e.record == nil || e.record.Incarnation <= incarnation) {
		delete(t.entries, id)
		t.list = nil
		t.version++
	}
}

// dropSockets forgets the local services that are not named any more. One that can also be reached over the network is
// probed there.
func (t *table) dropSockets(except map[peer.ID]bool, now time.Time) {
	for id, e := range t.entries {
		if e.socket == "" && len(e.addrs) == 0 {
			e.doubted = false // it would have been named
		}
		if e.socket == "" || except[id] {
			continue
		}
		t.list = nil
		t.version++
		if len(e.addrs) == 0 {
			delete(t.entries, id)
			continue
		}
		e.sources = slices.DeleteFunc(slices.Clone(e.sources), func(way string) bool { return way == Local })
		e.socket, e.live, e.due = "", false, now
	}
}

// usable reports whether one of the live instances takes calls.
func (t *table) usable() bool {
	for _, e := range t.entries {
		if e.live && e.state == record.Serving {
			return true
		}
	}
	return false
}

// followable reports whether a live instance can be asked for its list.
func (t *table) followable() bool {
	for _, e := range t.entries {
		if e.live && !e.self && len(e.addrs) > 0 {
			return true
		}
	}
	return false
}

// instances returns the live ones, sorted. The list is made when something has happened since the last time, and is the
// table's: whoever passes it on copies it.
func (t *table) instances() []Instance {
	if t.list != nil {
		return t.list
	}
	t.list = make([]Instance, 0, len(t.entries))
	for _, e := range t.entries {
		if e.live {
			t.list = append(t.list, e.instance())
		}
	}
	sortInstances(t.list)
	return t.list
}

func (e *entry) instance() Instance {
	i := Instance{
		Peer: e.peer, State: e.state, RTT: e.rtt, Path: e.path, Addrs: slices.Clip(e.addrs),
		Commit: e.commit, Fingerprint: e.print, Sources: e.sources, Since: e.since,
		Socket: e.socket, Self: e.self, Record: e.record, Suspect: e.suspect,
	}
	if e.record != nil {
		i.Incarnation = e.record.Incarnation
	}
	return i
}

// refusals returns the candidates that are not live, and why.
func (t *table) refusals() []Refusal {
	var list []Refusal
	for _, e := range t.entries {
		if !e.live && e.err != nil {
			list = append(list, Refusal{e.peer, e.sources, e.err})
		}
	}
	slices.SortFunc(list, func(a, b Refusal) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return list
}
