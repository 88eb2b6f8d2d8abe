package main

import (
	"testing"
	"time"
)

// TestASilentKillIsNoticedByBothContenders runs three real members of each, on real sockets.
func TestASilentKillIsNoticedByBothContenders(t *testing.T) {
	short := course{settle: 10 * time.Millisecond, idle: 500 * time.Millisecond, kills: 1, together: 1, pauseMin: time.Millisecond, patience: 30 * time.Second}
	for _, name := range []string{"cellnode", "memberlist-tuned"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := measure(t.Context(), Row{name, 3, 0}, short)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", r)
			if r.Converge < 0 || len(r.Newcomers) != 2 || len(r.Deaths) != 1 || r.Deaths[0].All < 0 {
				t.Errorf("the members never agreed: %+v", r)
			}
			if r.Idle.Wire == 0 || r.Idle.CPU == 0 {
				t.Errorf("an idle cell costs nothing at all: %+v", r.Idle)
			}
		})
	}
}
