package dht

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestScheduleRepeatsThriceWithinAValidity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedule{every: announceEvery}
		now := noon
		for range 3 {
			s.done(now, held, 9, rapid.Float64Range(0, 0.999).Draw(t, "u"))
			if gap := s.due.Sub(now); gap > announceEvery || gap < announceEvery*4/5-time.Second {
				t.Fatalf("gap %v", gap)
			}
			now = s.due
		}
		if now.Sub(noon) > validity {
			t.Fatalf("third announcement after %v", now.Sub(noon))
		}
	})
}

func TestScheduleAfterEachOutcome(t *testing.T) {
	s := schedule{every: announceEvery}
	for i, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		s.done(noon, failed, 3, 0)
		if got := s.due.Sub(noon); got != want*time.Second {
			t.Errorf("failure %d: %v", i+1, got)
		}
	}
	s.done(noon, held, 3, 0)
	s.done(noon, unread, 3, 0)
	if got := s.due.Sub(noon); got != retryFirst {
		t.Errorf("first failure after success: %v", got)
	}
	s.done(noon, idle, 3, 0)
	if got := s.due.Sub(noon); got != turnEvery {
		t.Errorf("not our turn: %v", got)
	}
}

func TestScheduleIsBroughtForwardByWhatHappens(t *testing.T) {
	at := noon.Add(3 * time.Second)
	for _, c := range []struct {
		name   string
		last   outcome
		size   int
		happen func(*schedule)
		want   time.Duration // after noon; 0: as it was
	}{
		{"first peer", alone, 0, func(s *schedule) { s.tableChanged(at, 1) }, 3 * time.Second},
		{"table emptied", held, 4, func(s *schedule) { s.tableChanged(at, 0) }, 0},
		{"table doubled", held, 4, func(s *schedule) { s.tableChanged(at, 8) }, growthGap},
		{"table grew a little", held, 4, func(s *schedule) { s.tableChanged(at, 7) }, 0},
		{"new address", held, 4, func(s *schedule) { s.addrsChanged(at) }, 3*time.Second + settle},
		{"new address, others announce", idle, 4, func(s *schedule) { s.addrsChanged(at) }, 0},
		{"table doubled, others announce", idle, 4, func(s *schedule) { s.tableChanged(at, 90) }, 0},
		{"network back", held, 4, func(s *schedule) { s.networkBack(at) }, 0},
		{"network back, others announce", idle, 4, func(s *schedule) { s.networkBack(at) }, 0},
		{"network back after a failure", failed, 4, func(s *schedule) { s.networkBack(at) }, 3 * time.Second},
		{"network back right after a failure", unread, 4, func(s *schedule) { s.networkBack(noon) }, failureGap},
		{"doubled, but due before", failed, 4, func(s *schedule) { s.tableChanged(at, 8) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := schedule{every: announceEvery}
			s.done(noon, c.last, c.size, 0)
			want := s.due
			if c.want != 0 {
				want = noon.Add(c.want)
			}
			c.happen(&s)
			if !s.due.Equal(want) {
				t.Errorf("due %v after noon, want %v", s.due.Sub(noon), want.Sub(noon))
			}
		})
	}
}

func TestOutcomeOfAnAnnouncement(t *testing.T) {
	for _, c := range []struct {
		a    Announced
		err  error
		want outcome
	}{
		{Announced{Replicas: 20, ReadBack: true}, nil, held},
		{Announced{Replicas: 20}, nil, unread},
		{Announced{Alone: true}, nil, alone},
		{Announced{}, errors.New("x"), failed},
	} {
		if got := outcomeOf(c.a, c.err); got != c.want {
			t.Errorf("%+v, %v: %v", c.a, c.err, got)
		}
	}
}

func TestEntryBackoffStaysBelowThirtySeconds(t *testing.T) {
	for fails := range 70 {
		for _, u := range []float64{0, 0.5, 0.999} {
			if w := entryWait(fails, u); w < entryBackoff/2 || w > entryMax {
				t.Errorf("entryWait(%d, %v) = %v", fails, u, w)
			}
		}
	}
}
