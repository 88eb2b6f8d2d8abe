package gossip

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// local is what a member knows of its own fitness to judge others (Lifeguard, arXiv 1707.00788, and the model's
// findings).
type local struct {
	health     int           // 0 is well; stretches timeouts, mutes votes
	misses     float64       // share of first pings without an ack in time, moving average
	late       time.Duration // by how much own timers were late of late; at most Profile.Pause
	heard      time.Time     // the last frame from anybody
	cutOffFrom time.Time     // since when nobody has been heard; zero while somebody is
}

const (
	missWeight  = 1.0 / 32 // of one ping in local.misses
	missAllowed = 0.25     // share of misses above which timeouts grow: 40 % loss broke the detector without it
)

// ticked takes how late an own timer came. The worst of the last ones counts, and fades by an eighth with each.
func (l *local) ticked(late time.Duration, p Profile) {
	l.late = min(max(late, l.late-l.late/8), p.Pause)
}

// turns is for how many turns on the processor a ping and its ack wait, with sockets, streams and goroutines at both ends.
const turns = 8

// patience is what a busy machine adds to a timeout. Fresh connections, which come next, would make it busier still: of eight
// members that wait up to 350 ms for each turn, 651 were made in 20 min without this, and none with it (model).
func (l *local) patience() time.Duration { return turns * l.late }

// pinged takes the outcome of a first ping.
func (l *local) pinged(missed bool) {
	target := 0.0
	if missed {
		target = 1
	}
	l.misses += (target - l.misses) * missWeight
}

func (l *local) better() { l.health = max(0, l.health-1) }

func (l *local) worse(p Profile) { l.health = min(p.HealthMax, l.health+1) }

// stretch is the factor on timeouts.
func (l *local) stretch() float64 {
	return float64(1+l.health) * (1 + min(1, max(0, (l.misses-missAllowed)*4)))
}

// mute reports whether this member should keep its judgement to itself.
func (m *Machine) mute() bool { return m.local.health >= m.profile.HealthMute }

// cutOffAmong is the least number of others whose common silence says more about this member than about them.
const cutOffAmong = 3

// listen pings a few neighbours whose silence would mean that this member is cut off, unless somebody has been heard
// since a time.
func (m *Machine) listen(since time.Time, but peer.ID) {
	if !m.local.heard.Before(since) {
		return
	}
	others := m.neighbours(but)
	for range min(len(others), cutOffAmong) {
		i := m.rand.IntN(len(others))
		m.pingID++
		m.send(&Ping{ID: m.pingID}, others[i])
		others = slices.Delete(others, i, i+1)
	}
}

// cutOff reports whether nobody at all has been heard since a time. Then this member suspects itself and keeps its
// list, until Doubt has passed.
func (m *Machine) cutOff(since time.Time) bool {
	if m.rings.len()-1 < cutOffAmong || !m.local.heard.Before(since) {
		m.local.cutOffFrom = time.Time{}
		return false
	}
	if m.local.cutOffFrom.IsZero() {
		m.local.cutOffFrom = m.now
	}
	return m.now.Sub(m.local.cutOffFrom) < m.profile.Doubt
}

// paused is called when this process stood still: it discards every round that it was timing, and gives refutations
// that wait in its sockets time to be read.
func (m *Machine) paused() {
	m.local.worse(m.profile)
	for _, id := range sorted(m.probes) {
		if p := m.probes[id]; p.stage != idle {
			m.begin(p)
		}
	}
	for floor := m.now.Add(m.profile.Window / 2); len(m.condemned) > 0 && m.condemned[0].dropAt.Before(floor); {
		m.condemned.put(m.condemned[0], floor)
	}
}
