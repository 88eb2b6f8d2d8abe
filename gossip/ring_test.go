package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

func drawRings(t *rapid.T) (*rings, []peer.ID) {
	n := rapid.IntRange(1, 40).Draw(t, "members")
	r := newRings(testCell, 8, 17, worldStart)
	var ids []peer.ID
	for i := range n {
		ids = append(ids, peer.ID(fmt.Sprint("member ", i)))
		r.add(ids[i])
	}
	return r, ids
}

func TestSubjectsAreThoseOneObserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, ids := drawRings(t)
		for _, me := range ids {
			var want []peer.ID
			for _, id := range ids {
				if id != me && slices.Contains(r.observers(id), me) {
					want = append(want, id)
				}
			}
			got := r.subjects(me)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: subjects %q, want %q", me, got, want)
			}
		}
	})
}

func TestObserversAreDistinctAndAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, ids := drawRings(t)
		for _, id := range ids {
			obs := r.observers(id)
			if want := min(len(ids)-1, max(8, len(ids)-1)); len(ids) <= 17 && len(obs) != want || len(ids) > 17 && len(obs) != 8 {
				t.Fatalf("%d observers among %d", len(obs), len(ids))
			}
			slices.Sort(obs)
			if len(slices.Compact(slices.Clone(obs))) != len(obs) || slices.Contains(obs, id) {
				t.Fatalf("observers %q of %s", obs, id)
			}
			for _, o := range obs {
				if !r.accepts(o, id, worldStart) {
					t.Fatalf("%s observes %s and is not accepted", o, id)
				}
			}
		}
	})
}

// TestSlightlyDifferentViewsAcceptEachOther is why 2K are accepted: an observer in a view with one member more or less
// still counts.
func TestSlightlyDifferentViewsAcceptEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, ids := drawRings(t)
		subject := rapid.SampledFrom(ids).Draw(t, "subject")
		before := r.observers(subject)
		r.add("newcomer")
		for _, o := range before {
			if !r.accepts(o, subject, worldStart) {
				t.Fatalf("%s no longer counts about %s after one join", o, subject)
			}
		}
		r.remove("newcomer")
		if !slices.Equal(r.observers(subject), before) {
			t.Fatal("a join and a leave changed the observers")
		}
	})
}

func TestEachRingTurnsOnceADayAtItsHour(t *testing.T) {
	r := newRings(testCell, 8, 17, worldStart)
	for i := range 40 {
		r.add(peer.ID(fmt.Sprint("member ", i)))
	}
	at := r.nextTurn(worldStart)
	if want := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC); !at.Equal(want) {
		t.Fatalf("next turn at %s, want %s", at, want)
	}
	old := r.observers("member 3")
	if r.turn(at.Add(-time.Second)) || !r.turn(at) {
		t.Fatal("want a turn at 15 h and not before")
	}
	same := 0
	for _, id := range r.observers("member 3") {
		if slices.Contains(old, id) {
			same++
		}
	}
	if same < 6 {
		t.Errorf("%d of 8 observers stay when one ring turns", same)
	}
	for _, o := range old {
		if !r.accepts(o, "member 3", at.Add(time.Minute)) {
			t.Errorf("%s no longer counts a minute after the turn", o)
		}
	}
}

func TestSlotsSpreadTheObservers(t *testing.T) {
	var s slots
	s.base = worldStart
	now := worldStart.Add(100 * time.Millisecond)
	due := make(map[peer.ID]time.Time)
	for i := range 8 {
		due[peer.ID(fmt.Sprint(i))] = now // all at once, as after a join
	}
	var gaps []time.Duration
	last := now
	for range 200 {
		id, at := earliest(due)
		if d := at.Sub(last); at.Sub(worldStart) > 20*time.Second {
			gaps = append(gaps, d)
		}
		last = at
		due[id] = at.Add(s.next(at, time.Second, id))
	}
	slices.Sort(gaps)
	if gaps[0] < 900*time.Millisecond || gaps[len(gaps)-1] > 1100*time.Millisecond {
		t.Errorf("gaps from %s to %s, want one second", gaps[0], gaps[len(gaps)-1])
	}
}

func earliest(due map[peer.ID]time.Time) (peer.ID, time.Time) {
	first := sorted(due)[0]
	for _, id := range sorted(due) {
		if due[id].Before(due[first]) {
			first = id
		}
	}
	return first, due[first]
}

func TestOutOfTurnPingKeepsTheTurn(t *testing.T) {
	s := slots{base: worldStart}
	for i := range 8 {
		s.next(worldStart, time.Second, peer.ID(fmt.Sprint(i)))
	}
	before := s.given["5"]
	s.next(worldStart.Add(1500*time.Millisecond), time.Second, "5")
	if s.given["5"] != before {
		t.Errorf("slot %d, want %d", s.given["5"], before)
	}
}
