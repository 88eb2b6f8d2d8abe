package dht

import "time"

const (
	announceEvery = 5 * time.Minute  // a third of validity
	aminoEvery    = 6 * time.Hour    // there records live 48 hours, and addresses 24
	retryFirst    = 5 * time.Second  // after a failure or alone, doubling to
	retryMax      = time.Minute      // this; a first peer in the table ends the wait anyway
	turnEvery     = time.Minute      // how often should is asked again while it says no
	settle        = time.Second      // after a change of address: they come in bursts
	growthGap     = 15 * time.Second // between an announcement and the next one for a grown table
	failureGap    = time.Second      // between one that did not hold and the next one for a network that is back
)

// outcome sorts an announcement by what follows from it.
type outcome int

const (
	held   outcome = iota // read back
	unread                // written, and nobody asked had it
	alone
	failed
	idle // not this node's turn
)

func outcomeOf(a Announced, err error) outcome {
	switch {
	case err != nil:
		return failed
	case a.Alone:
		return alone
	case !a.ReadBack:
		return unread
	default:
		return held
	}
}

// schedule decides when to announce next. It is pure: time, table size and randomness come in.
type schedule struct {
	every time.Duration // between two announcements that hold

	due  time.Time
	last outcome
	at   time.Time // of the last announcement
	size int       // of the table then
	bad  int       // outcomes in a row that were neither held nor idle
}

// done notes an announcement that began at table size size. u in [0, 1) is the jitter.
func (s *schedule) done(now time.Time, o outcome, size int, u float64) {
	s.last, s.at, s.size = o, now, size
	switch o {
	case held:
		s.bad = 0
		s.due = now.Add(jitter(s.every, u))
	case idle:
		s.bad = 0
		s.due = now.Add(jitter(turnEvery, u))
	default:
		s.due = now.Add(jitter(doubling(retryFirst, s.bad, retryMax), u))
		s.bad++
	}
}

// tableChanged: a first peer makes an announcement possible at once. A table that has doubled speaks of a network that
// grew round us, in which other peers than our holders may be the closest by now.
func (s *schedule) tableChanged(now time.Time, size int) {
	switch {
	case size == 0 || s.last == idle:
	case s.size == 0:
		s.bring(now)
	case size >= 2*s.size:
		s.bring(s.at.Add(growthGap))
	}
}

func (s *schedule) addrsChanged(now time.Time) {
	if s.last != idle {
		s.bring(now.Add(settle))
	}
}

// networkBack: an announcement that did not hold may do so now.
func (s *schedule) networkBack(now time.Time) {
	if s.last != held && s.last != idle {
		s.bring(now.Add(max(0, s.at.Add(failureGap).Sub(now))))
	}
}

// bring moves the next announcement forward, never back.
func (s *schedule) bring(t time.Time) {
	if t.Before(s.due) {
		s.due = t
	}
}
