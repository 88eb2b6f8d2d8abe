package gossip

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// slots hands out the times at which a member's observers ping it, so that together they look once a period and
// never twice at once. Without coordination the p99 of a detection was 3 s longer. The observers need no common
// clock: each is told in an ack how long to wait.
type slots struct {
	base  time.Time
	given map[peer.ID]int64 // the slot that each observer uses next; slot i begins at base + i periods
}

// next returns how long an observer should wait until its next ping, and keeps that slot for it.
func (s *slots) next(now time.Time, period time.Duration, observer peer.ID) time.Duration {
	if s.given == nil {
		s.given = make(map[peer.ID]int64)
	}
	current := int64(now.Sub(s.base) / period)
	cycle := int64(len(s.given))
	for id, slot := range s.given {
		if slot < current-cycle {
			delete(s.given, id) // silent for a whole cycle after its turn
		}
	}
	if slot, ok := s.given[observer]; ok && slot > current {
		return s.wait(now, period, slot) // pinged out of turn, because a fellow asked: its turn stays
	}
	delete(s.given, observer)
	slot := s.free(current, int64(len(s.given)+1))
	s.given[observer] = slot
	return s.wait(now, period, slot)
}

// between returns how long somebody should wait who only takes itself for an observer, because its view differs a
// little: a cycle, to a moment between two slots. None is kept for it, or the true observers would leave gaps.
func (s *slots) between(now time.Time, period time.Duration) time.Duration {
	current := int64(now.Sub(s.base) / period)
	return s.wait(now, period, current+int64(len(s.given)+1)) + period/2
}

// only forgets all observers but those named, and closes the gaps that the others leave. It returns, for each one
// whose turn has moved, how long it should wait now.
func (s *slots) only(now time.Time, period time.Duration, observers []peer.ID) map[peer.ID]time.Duration {
	stay := make([]peer.ID, 0, len(s.given))
	for id := range s.given {
		if slices.Contains(observers, id) {
			stay = append(stay, id)
		}
	}
	if len(stay) == len(s.given) {
		return nil
	}
	slices.SortFunc(stay, func(a, b peer.ID) int {
		return cmp.Or(cmp.Compare(s.given[a], s.given[b]), cmp.Compare(a, b))
	})
	moved := make(map[peer.ID]time.Duration)
	kept := make(map[peer.ID]int64, len(stay))
	current := int64(now.Sub(s.base) / period)
	for i, id := range stay {
		kept[id] = current + 1 + int64(i)
		if kept[id] != s.given[id] {
			moved[id] = s.wait(now, period, kept[id])
		}
	}
	s.given = kept
	return moved
}

// wait is the time until the middle of a slot, so that a ping that is a little early or late still falls into it.
func (s *slots) wait(now time.Time, period time.Duration, slot int64) time.Duration {
	return s.base.Add(time.Duration(slot)*period + period/2).Sub(now)
}

// free finds the free slot nearest to one cycle from now, but not within half a cycle.
func (s *slots) free(current, cycle int64) int64 {
	taken := make(map[int64]bool, len(s.given))
	for _, slot := range s.given {
		taken[slot] = true
	}
	ideal := current + cycle
	for d := int64(0); ; d++ {
		if early := ideal - d; early > current+cycle/2 && !taken[early] {
			return early
		}
		if !taken[ideal+d] {
			return ideal + d
		}
	}
}
