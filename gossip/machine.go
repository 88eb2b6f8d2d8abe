package gossip

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

// MachineConfig says what a Machine is.
type MachineConfig struct {
	Key     crypto.PrivKey // Ed25519; signs own records and votes
	Record  *record.Signed // own first record, signed with Key; names the cell
	Profile Profile        // zero: WAN()
	Rand    *rand.Rand     // required; seeded by whoever wants a replay
	// Verifier is shared with other machines of one goroutine, or nil for an own one.
	Verifier *Verifier
	// Authority says who else may be a member. Whoever else gives it documents calls Trusted then. Nil: the cell is open,
	// and anybody may.
	Authority *record.Authority
	// Census is what the machine knows from its start, as if it had been handed a list, and tells no events of. Nil: nobody.
	Census *Census
}

// Machine is the detector of one member of one cell. It is pure: every input carries the time at which it happens,
// and all that it wants done comes out of Take. Times must not go backwards. It is not safe for concurrent use.
//
// The driver's side of the agreement: call Tick at Next or soon after; deliver what one peer sends in order; open a
// stream to whoever is sent something and start it with Hello; take everything out of Take after every input.
type Machine struct {
	profile   Profile
	key       crypto.PrivKey
	self      peer.ID
	cell      cid.Cid
	rand      *rand.Rand
	verify    *Verifier
	authority *record.Authority
	trusted   uint64 // version of the trust document that the members have been held to

	own     *record.Signed
	left    bool
	goodbye map[peer.ID]uint64 // pings behind the leave that are not yet acked

	roster    *roster
	rings     *rings
	links     map[peer.ID]*link
	banned    map[peer.ID]time.Time
	probes    map[peer.ID]*probe
	condemned condemned
	slots     slots
	sessions  map[peer.ID]*session
	hints     map[peer.ID]*hint
	observers []peer.ID // who watches this member
	random    []peer.ID // links beside the rings
	local     local
	timers    timers
	relays    []peer.ID              // the neighbours to whom news are passed on
	news      map[peer.ID]*news      // gathered to be passed on
	spreadAt  time.Time              // when that was last done
	floods    allowance              // of deaths along all links
	wanted    map[peer.ID]time.Time  // when somebody was asked for a death
	changes   map[peer.ID]*allowance // of records of one owner that are passed on

	now      time.Time
	next     time.Time // what Next returned last
	dirty    bool      // the neighbourhood must be computed anew
	relinked time.Time // when that was last done
	version  uint64
	pingID   uint64
	refuted  time.Time // when the own record was last pushed against an accusation
	answered time.Time // when a mere vote against the present record was last answered
	grown    time.Time // when somebody joined last
	jumps    allowance
	doubts   allowance
	hearsay  allowance // of looks at those whose death is claimed

	foreign  int       // records with the own key that went above the own one
	twinSaid time.Time // when a Twin was told of last
	out      Output
}

// timers are the machine's periodic deadlines.
type timers struct {
	sync, rotate, turn, sweep time.Time
	spread                    time.Time // zero while there is nothing to pass on
	refute                    time.Time // zero while there is nothing to refute
}

// NewMachine returns a member that knows only itself.
func NewMachine(c MachineConfig, now time.Time) (*Machine, error) {
	p := c.Profile.withDefaults()
	if err := p.validate(); err != nil {
		return nil, err
	}
	if c.Key == nil || c.Record == nil || c.Rand == nil {
		return nil, errors.New("gossip: a machine needs Key, Record and Rand")
	}
	self, err := peer.IDFromPrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	if self != c.Record.Peer {
		return nil, fmt.Errorf("gossip: own record names %s, the key is that of %s", c.Record.Peer, self)
	}
	if _, err := toPeer([]byte(self)); err != nil {
		return nil, errors.New("gossip: the key must be Ed25519")
	}
	m := &Machine{
		profile: p, key: c.Key, self: self, cell: c.Record.Cell, rand: c.Rand, verify: c.Verifier,
		authority: c.Authority, trusted: c.Authority.Version(),
		own: c.Record, roster: newRoster(c.Census), rings: newRings(c.Record.Cell, p.Rings, p.Mesh, now),
		links: make(map[peer.ID]*link), banned: make(map[peer.ID]time.Time), probes: make(map[peer.ID]*probe),
		sessions: make(map[peer.ID]*session), hints: make(map[peer.ID]*hint),
		news: make(map[peer.ID]*news), wanted: make(map[peer.ID]time.Time),
		changes: make(map[peer.ID]*allowance),
		now:     now,
	}
	if m.verify == nil {
		m.verify = NewVerifier()
	}
	m.slots.base = now
	m.timers = timers{
		sync: now.Add(m.jitter(p.Sync)), rotate: now.Add(p.Rotate + m.jitter(p.Rotate)),
		turn: m.rings.nextTurn(now), sweep: now.Add(sweepEvery),
	}
	if c.Census != nil {
		if err := c.Census.fits(m); err != nil {
			return nil, err
		}
		m.rings, m.dirty = c.Census.rings.share(), true
	}
	m.learnOwn(c.Record)
	m.leaveInput()
	return m, nil
}

// Receive takes a message that from, whom the transport has authenticated, has sent.
func (m *Machine) Receive(now time.Time, from peer.ID, msg Message) {
	m.enter(now)
	defer m.leaveInput()
	if from == m.self {
		return
	}
	if m.isBanned(from) {
		m.out.Refuses = append(m.out.Refuses, from)
		return
	}
	if m.left {
		if ack, ok := msg.(*Ack); ok && m.goodbye[from] == ack.ID {
			delete(m.goodbye, from)
		}
		return
	}
	if hello, ok := msg.(*Hello); ok {
		m.onHello(from, hello)
		return
	}
	if l := m.links[from]; l != nil && l.theirs { // nobody is heard before a Hello
		m.heardFrom(from, l)
		m.dispatch(from, l, msg)
	}
}

func (m *Machine) dispatch(from peer.ID, l *link, msg Message) {
	switch msg := msg.(type) {
	case *Ack:
		m.onAck(from, l, msg)
	case *Ping:
		m.onPing(from, msg)
	case *Push:
		m.onPush(from, msg)
	case *Ask:
		m.onAsk(from, msg)
	case *Answer:
		m.onAnswer(from, msg)
	case *Root:
		m.onRoot(from, msg)
	case *Buckets:
		m.onBuckets(from, msg)
	case *IDs:
		m.onIDs(from, msg)
	case *Want:
		m.onWant(from, msg)
	case *Have:
		m.onHave(from, msg)
	}
}

// Tick does whatever is due.
func (m *Machine) Tick(now time.Time) {
	if !m.next.IsZero() {
		m.local.ticked(now.Sub(m.next), m.profile)
	}
	m.enter(now)
	defer m.leaveInput()
	if m.left {
		return
	}
	m.tickRings()
	m.tickProbes()
	m.tickCondemned()
	m.tickRefute()
	m.tickSync()
	m.tickHints()
	m.tickLinks()
	m.tickSweep()
}

// Next returns when Tick wants to be called; zero means that nothing is due.
func (m *Machine) Next() time.Time { return m.next }

// Take returns what the machine wants done and forgets it.
func (m *Machine) Take() Output {
	out := m.out
	m.out = Output{}
	return out
}

// Version grows with each change of the list of members.
func (m *Machine) Version() uint64 { return m.version }

// Self returns the own record of the moment. It is newer than the one last given to Update after a refutation.
func (m *Machine) Self() *record.Signed { return m.own }

// Members lists the living, itself included, in no order.
func (m *Machine) Members() []Member {
	out := make([]Member, 0, m.rings.len())
	for e := range m.roster.all() {
		if e.listed {
			out = append(out, m.member(e))
		}
	}
	return out
}

func (m *Machine) member(e *entry) Member {
	status := Alive
	if e.suspected {
		status = Suspect
	}
	return Member{Record: e.record, Status: status, Heard: e.heard.time(), Self: e.id == m.self}
}

func (m *Machine) emit(kind Kind, e *entry) {
	m.version++
	m.out.Events = append(m.out.Events, Event{kind, m.member(e)})
}

// enter begins an input. An own deadline that is long past means that this process stood still, and that what it has
// timed in the meantime says nothing about others.
func (m *Machine) enter(now time.Time) {
	late := !m.next.IsZero() && now.Sub(m.next) > m.profile.Pause
	m.now = now
	if late && !m.left {
		m.paused()
	}
}

// leaveInput ends an input.
func (m *Machine) leaveInput() {
	if !m.left {
		m.tickRelink()
		m.tickSpread()
	}
	m.next = m.deadline()
}

func (m *Machine) send(msg Message, to ...peer.ID) {
	if len(to) > 0 {
		m.out.Sends = append(m.out.Sends, Send{to, msg})
	}
}

// jitter returns a random duration below d.
func (m *Machine) jitter(d time.Duration) time.Duration {
	return time.Duration(m.rand.Int64N(max(int64(d), 1)))
}

func (m *Machine) shuffle(es []*entry) {
	m.rand.Shuffle(len(es), func(i, j int) { es[i], es[j] = es[j], es[i] })
}

func (m *Machine) nonce() Nonce {
	var n Nonce
	for i := range n {
		n[i] = byte(m.rand.Uint32())
	}
	return n
}

// deadline is the earliest thing due.
func (m *Machine) deadline() time.Time {
	if m.left {
		return time.Time{}
	}
	t := minTime(minTime(m.timers.sync, m.timers.rotate), minTime(m.timers.turn, m.timers.sweep))
	for _, soon := range []time.Time{m.timers.spread, m.timers.refute} {
		if !soon.IsZero() {
			t = minTime(t, soon)
		}
	}
	for _, p := range m.probes {
		t = minTime(t, p.due)
	}
	if len(m.condemned) > 0 {
		t = minTime(t, m.condemned[0].dropAt)
	}
	if m.dirty {
		t = minTime(t, m.relinkAt())
	}
	for _, h := range m.hints {
		t = minTime(t, h.next)
	}
	return t
}

// Addrs returns the addresses in a member's record.
func (m *Machine) Addrs(id peer.ID) []ma.Multiaddr {
	if e := m.roster.look(id); e != nil && e.record != nil {
		return e.record.Addrs
	}
	return nil
}
