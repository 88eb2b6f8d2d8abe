package simulations

import (
	"testing"
	"time"
)

// settle begins a cell and fails the test if its members do not list each other.
func settle(t testing.TB, w *World, n int) {
	t.Helper()
	if err := w.Settle(n); err != nil {
		t.Fatal(err)
	}
}

func mustAgree(t testing.TB, w *World) {
	t.Helper()
	agree(t, w, 0)
}

// agree returns how long it took until all members listed each other.
func agree(t testing.TB, w *World, within time.Duration) time.Duration {
	t.Helper()
	from := w.now
	if err := w.Agree(within); err != nil {
		t.Fatal(err)
	}
	return w.now.Sub(from)
}

func gone(t testing.TB, w *World, n *Node, within time.Duration) time.Duration {
	t.Helper()
	took, err := w.Gone(n, within)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

func mustHaveNoFalseDeath(t testing.TB, w *World) {
	t.Helper()
	if w.FalseDeaths > 0 {
		t.Errorf("%d live members were listed as dead", w.FalseDeaths)
	}
}

// anywhere spreads the nodes over the world, with loss.
func anywhere(w *World, loss float64) {
	w.Anywhere()
	w.Loss = loss
}
