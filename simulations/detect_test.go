package simulations

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cellnode/cellnode/gossip"
)

// quantile of sorted durations.
func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(time.Millisecond)
}

func TestCrashedMemberIsPrunedWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 8, 17, 18, 40} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			w := NewWorld(uint64(n), gossip.LAN())
			settle(t, w, n)
			var took []time.Duration
			for range 6 {
				victim := w.nodes[w.Rand.IntN(n)]
				w.Run(time.Duration(w.Rand.Int64N(int64(5 * time.Second))))
				victim.Crash()
				took = append(took, gone(t, w, victim, 5*time.Second))
				mustAgree(t, w)
				w.Run(5 * time.Second)
				victim.Start(w.nodes[(victim.Index+1)%n])
				w.Run(20 * time.Second)
				mustAgree(t, w)
			}
			t.Logf("p50 %s max %s", quantile(took, 0.5), quantile(took, 1))
		})
	}
}

// crash ends a victim and lets time pass until a message is sent that has to do with its death; it returns who sent it.
func crash(t *testing.T, w *World, victim *Node, about func(gossip.Message) bool) (sender *Node) {
	t.Helper()
	w.Trace = func(from, _ *Node, m gossip.Message) {
		if sender == nil && about(m) {
			sender = from
		}
	}
	victim.Crash()
	if !w.Until(5*time.Second, func() bool { return sender != nil }) {
		t.Fatal("no such message within 5 s")
	}
	w.Trace = nil
	return sender
}

func asks(m gossip.Message) bool {
	_, ok := m.(*gossip.Ask)
	return ok
}

func certifies(m gossip.Message) bool {
	p, ok := m.(*gossip.Push)
	return ok && len(p.Deaths) > 0
}

// TestWhoAsksMayDie: the votes are with the one that asked, and it dies before it has made the certificate.
func TestWhoAsksMayDie(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		w := NewWorld(seed, gossip.LAN())
		settle(t, w, 8)
		w.Run(time.Duration(w.Rand.Int64N(int64(time.Second))))
		victim := w.nodes[w.Rand.IntN(8)]
		asker := crash(t, w, victim, asks)
		w.Run(500 * time.Millisecond)
		asker.Crash()
		if took := gone(t, w, victim, 10*time.Second); took > 2*time.Second {
			t.Errorf("seed %d: the first of the two was known %s after the second died, want 2 s", seed, took)
		}
	}
}

// TestSecondDeathIsSeenAsSoon: the turn that a dead observer had with another subject passes unused, and nobody waits for it.
func TestSecondDeathIsSeenAsSoon(t *testing.T) {
	t.Parallel()
	for after, about := range map[string]func(gossip.Message) bool{"asked": asks, "condemned": certifies} {
		for seed := range uint64(30) {
			w := NewWorld(seed, gossip.LAN())
			settle(t, w, 8)
			w.Run(time.Duration(w.Rand.Int64N(int64(time.Second))))
			victim := w.nodes[w.Rand.IntN(8)]
			second := w.nodes[(crash(t, w, victim, about).Index+1)%8]
			if second == victim {
				second = w.nodes[(victim.Index+1)%8]
			}
			w.Run(10 * time.Millisecond)
			second.Crash()
			if took := gone(t, w, second, 10*time.Second); took > 3300*time.Millisecond {
				t.Errorf("one was %s, seed %d: the next was known %s after its death, want 3.3 s", after, seed, took)
			}
		}
	}
}

// TestLinksAreTimedWithoutTheirDial: the first ping of a link waits for its dial, and says little of the next ones.
func TestLinksAreTimedWithoutTheirDial(t *testing.T) {
	t.Parallel()
	var worst time.Duration
	for seed := range uint64(4) {
		w := NewWorld(seed, gossip.WAN())
		w.Links(30 * time.Millisecond)
		settle(t, w, 17)
		for range 5 {
			victim := w.nodes[w.Rand.IntN(17)]
			w.Run(time.Duration(w.Rand.Int64N(int64(5 * time.Second))))
			victim.Crash()
			worst = max(worst, gone(t, w, victim, 10*time.Second))
			victim.Start(w.nodes[(victim.Index+1)%17])
			w.Run(20 * time.Second)
		}
	}
	if worst > 3900*time.Millisecond {
		t.Errorf("the worst of 20 deaths was known after %s, want 3.9 s", worst)
	}
}
