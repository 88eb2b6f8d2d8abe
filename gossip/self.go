package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// refuteEvery is the shortest time between two new records made against accusations.
const refuteEvery = 100 * time.Millisecond

// learnOwn takes an own record into the roster.
func (m *Machine) learnOwn(rec *record.Signed) {
	m.own = rec
	if !m.roster.apply(rec) {
		return
	}
	e := m.roster.entries[m.self]
	e.heard = m.now
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
// version. It is pushed to all.
func (m *Machine) Update(now time.Time, rec *record.Signed) {
	m.enter(now)
	defer m.leaveInput()
	if m.left || rec.Peer != m.self || !rec.Cell.Equals(m.cell) {
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
// neighbour, so that Flushed can tell who has read it. After Leave the machine does nothing more.
func (m *Machine) Leave(now time.Time) {
	m.enter(now)
	defer m.leaveInput()
	if m.left {
		return
	}
	m.reissue(Version{m.own.Incarnation, m.own.Seq + 1}, func(in *record.Instance) { in.State = record.Leaving })
	m.pushOwn(m.neighbours()...)
	m.goodbye = make(map[peer.ID]uint64)
	for _, id := range sorted(m.links) {
		if l := m.links[id]; l.theirs {
			m.pingID++
			m.goodbye[id] = m.pingID
			m.send(&Ping{ID: m.pingID}, id)
		}
	}
	m.left = true
}

// Flushed returns how many neighbours have not yet confirmed the leave.
func (m *Machine) Flushed() (waiting int) { return len(m.goodbye) }

func (m *Machine) pushOwn(to ...peer.ID) {
	m.send(&Push{Records: [][]byte{m.own.Envelope}}, to...)
}

// accused answers somebody who counts a version of this member as dead, with a record above it. A certificate is
// answered to everybody, also one against an older version, which can only mean that the newer record has not
// arrived; a mere vote is the business of the observers.
func (m *Machine) accused(v Version, from peer.ID, certified bool) {
	if v.compare(m.ownVersion()) >= 0 {
		m.local.worse(m.profile)
		m.reissue(above(v, m.ownVersion()), nil)
	} else if m.now.Sub(m.refuted) < refuteEvery {
		m.pushOwn(from)
		return
	}
	m.refuted = m.now
	if certified {
		m.pushOwn(m.neighbours()...)
		return
	}
	observers := m.rings.observers(m.self)
	if !slices.Contains(observers, from) {
		observers = append(observers, from)
	}
	m.send(&Push{Records: [][]byte{m.own.Envelope}, Quiet: true}, observers...)
}

// above is the lowest version that wins over an accusation.
func above(v, own Version) Version {
	if v.Incarnation > own.Incarnation {
		return Version{v.Incarnation + 1, 1}
	}
	return Version{own.Incarnation, v.Seq + 1}
}

// sawSelf takes an own record that came back from others. One that is above the own can only be from an earlier life
// whose clock ran ahead, or from a leave: this life jumps above it.
func (m *Machine) sawSelf(rec *record.Signed) {
	seen := rankOf(rec)
	if m.left || seen.compare(rankOf(m.own)) < 0 || string(rec.Envelope) == string(m.own.Envelope) {
		return
	}
	if m.now.Sub(m.refuted) < refuteEvery {
		return // two processes with one key would answer each other for ever
	}
	m.refuted = m.now
	v := Version{rec.Incarnation + 1, 1}
	if !seen.left && rec.Incarnation == m.own.Incarnation {
		v = Version{rec.Incarnation, rec.Seq + 1}
	}
	m.reissue(v, nil)
	m.pushOwn(m.neighbours()...)
}
