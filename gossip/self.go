package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

const (
	// refuteEvery is the least time between two refutations to everybody: liars with a quorum may accuse each newer record at
	// once. It must be well below half of Window.
	refuteEvery = 200 * time.Millisecond
	// jumpsPerSecond, after the first jumpsAtOnce, bounds jumps above an earlier life: two processes with one key
	// would outbid each other for ever.
	jumpsPerSecond, jumpsAtOnce = 0.2, 4
	// twinAfter is how many foreign records must have gone above the own one: an earlier life leaves one, a second one is the
	// answer of somebody who lives. It is said once every twinEvery.
	twinAfter = 2
	twinEvery = time.Minute
)

// learnOwn takes an own record into the roster.
func (m *Machine) learnOwn(rec *record.Signed) {
	m.own = rec
	if !m.roster.apply(rec) {
		return
	}
	e := m.roster.entry(m.self)
	e.heard = stampOf(m.now)
	kind := Updated
	if !e.listed {
		e.listed, kind = true, Joined
		m.rings.add(m.self)
		m.dirty = true
	}
	m.emit(kind, e)
}

// reissue signs the own record anew, at a version, after a change.
func (m *Machine) reissue(v Version, change func(*record.Instance)) {
	in := m.own.Instance
	in.Incarnation, in.Seq = v.Incarnation, v.Seq
	if change != nil {
		change(&in)
	}
	rec, err := record.Sign(m.key, in)
	if err != nil {
		return // what was signed before can be signed again
	}
	m.learnOwn(rec)
}

func (m *Machine) ownVersion() Version { return Version{m.own.Incarnation, m.own.Seq} }

// Update replaces the own record by another one with the same key and cell: renewed, with new addresses or another
// state. If it is not newer than what this member has had to sign in the meantime, it is signed anew with a higher
// version. It is pushed to all. A record with State Leaving is not taken: that is what Leave says.
func (m *Machine) Update(now time.Time, rec *record.Signed) {
	m.enter(now)
	defer m.leaveInput()
	if m.left || rec.Peer != m.self || !rec.Cell.Equals(m.cell) || rec.State == record.Leaving {
		return
	}
	if rec.Newer(m.own) {
		m.learnOwn(rec)
	} else {
		in := rec.Instance
		m.reissue(Version{m.own.Incarnation, m.own.Seq + 1}, func(own *record.Instance) {
			in.Incarnation, in.Seq = own.Incarnation, own.Seq
			*own = in
		})
	}
	m.pushOwn(m.neighbours()...)
}

// SetState publishes that the service is well (Serving) or not (Unhealthy). A member that drains stays draining.
func (m *Machine) SetState(now time.Time, s record.State) {
	m.enter(now)
	defer m.leaveInput()
	if m.left || s == m.own.State || m.own.State == record.Draining || m.own.State == record.Leaving {
		return
	}
	m.reissue(Version{m.own.Incarnation, m.own.Seq + 1}, func(in *record.Instance) { in.State = s })
	m.pushOwn(m.neighbours()...)
}

// Leave says goodbye: a signed record with State Leaving, final for this incarnation, and behind it a ping to each
// neighbour, so that Unconfirmed can tell who has not read it yet. Neighbours are also those who were greeted and have not
// answered: they may list this member already. Who is gone itself, or could not be reached for a greeting, is told nothing: it
// would not confirm it. After Leave the machine does nothing more.
func (m *Machine) Leave(now time.Time) {
	m.enter(now)
	defer m.leaveInput()
	if m.left {
		return
	}
	m.reissue(Version{m.own.Incarnation, m.own.Seq + 1}, func(in *record.Instance) { in.State = record.Leaving })
	told := slices.DeleteFunc(sorted(m.links), func(id peer.ID) bool {
		e, l := m.roster.look(id), m.links[id]
		if e == nil {
			return l.failed
		}
		return e.rank.left || e.rank.dead && !l.theirs
	})
	m.pushOwn(told...)
	m.goodbye = make(map[peer.ID]uint64, len(told))
	for _, id := range told {
		m.pingID++
		m.goodbye[id] = m.pingID
		m.send(&Ping{ID: m.pingID}, id)
	}
	m.left = true
}

// Unconfirmed returns how many neighbours have not confirmed the leave yet.
func (m *Machine) Unconfirmed() int { return len(m.goodbye) }

func (m *Machine) pushOwn(to ...peer.ID) {
	m.send(&Push{Records: [][]byte{m.own.Envelope}}, to...)
}

// accused answers somebody who counts a version of this member as dead, with a record above it. A certificate is
// answered to everybody, also one against an older version, which can only mean that the newer record has not
// arrived; a mere vote is the business of the observers. An accusation against a version that this life has not
// reached is only talk; it is followed as far as a clock could have led an earlier life, and no more often than the
// allowance, for a liar could drive the version to where nobody takes it.
func (m *Machine) accused(v Version, from peer.ID, certified bool) {
	switch c := v.compare(m.ownVersion()); {
	case c > 0 && (v.Incarnation > uint64(m.now.Add(record.Leeway).UnixMilli()) || !m.jumps.take(m.now, jumpsPerSecond, jumpsAtOnce)):
		return
	case c > 0:
		m.reissue(Version{v.Incarnation + 1, 1}, nil)
	case c == 0 && !certified:
		m.doubted(from)
		return
	case c == 0 && m.now.Sub(m.refuted) < refuteEvery:
		m.timers.refute = m.refuted.Add(refuteEvery)
		return
	case c == 0:
		m.reissue(Version{v.Incarnation, v.Seq + 1}, nil)
	case m.now.Sub(m.refuted) < refuteEvery:
		m.pushOwn(from)
		return
	}
	m.refuted, m.timers.refute = m.now, time.Time{}
	if certified {
		m.pushOwn(m.neighbours()...)
		return
	}
	to := slices.Clone(m.observers)
	if !slices.Contains(to, from) {
		to = append(to, from)
	}
	m.send(&Push{Records: [][]byte{m.own.Envelope}, Quiet: true}, to...)
}

// tickRefute refutes what came too soon after the refutation before.
func (m *Machine) tickRefute() {
	if m.timers.refute.IsZero() || m.timers.refute.After(m.now) {
		return
	}
	m.accused(m.ownVersion(), m.self, true)
}

// doubted answers a vote against the present record, if it counts: a frame proves to each observer that this member lives, and voids
// the votes that it holds. A newer record would do the same, but everybody has to learn of each: at 40 % loss a member of 1,000 was
// sent 5 kB of them a second. Of its own fitness an unsigned word tells a member nothing: liars could mute it.
func (m *Machine) doubted(by peer.ID) {
	if m.now.Sub(m.answered) < m.profile.Period || !m.rings.accepts(by, m.self, m.now) {
		return
	}
	m.answered = m.now
	m.send(&Ack{State: m.own.State, Seq: m.own.Seq}, m.observers...)
}

// sawSelf takes an own record that came back from others. One that is above the own is from an earlier life whose clock
// ran ahead, or from a leave, or of another process with this key: this life jumps above it.
func (m *Machine) sawSelf(rec *record.Signed) {
	seen := rankOf(rec)
	if m.left || seen.compare(rankOf(m.own)) < 0 || string(rec.Envelope) == string(m.own.Envelope) {
		return
	}
	m.outbid(rec)
	if !m.jumps.take(m.now, jumpsPerSecond, jumpsAtOnce) {
		return
	}
	v := Version{rec.Incarnation + 1, 1}
	if !seen.left && rec.Incarnation == m.own.Incarnation {
		v = Version{rec.Incarnation, rec.Seq + 1}
	}
	m.reissue(v, nil)
	m.pushOwn(m.neighbours()...)
}

// outbid counts the foreign records that go above the own one, and tells of a Twin.
func (m *Machine) outbid(rec *record.Signed) {
	if m.foreign++; m.foreign < twinAfter || !m.twinSaid.IsZero() && m.now.Sub(m.twinSaid) < twinEvery {
		return
	}
	m.twinSaid = m.now
	m.out.Events = append(m.out.Events, Event{Twin, Member{Record: rec, Self: true}})
}
