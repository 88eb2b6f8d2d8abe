package simulations

import (
	"fmt"
	"testing"
	"time"

	"github.com/cellnode/cellnode/gossip"
)

func TestLiveMemberSurvivesLiars(t *testing.T) {
	t.Parallel()
	for _, n := range []int{8, 24} {
		for _, age := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("N=%d age=%s", n, age), func(t *testing.T) {
				w := NewWorld(uint64(n), gossip.WAN())
				anywhere(w, 0.05)
				settle(t, w, n)
				var nodes []*Node
				for i := range n * 3 / 10 {
					nodes = append(nodes, w.nodes[3*i])
				}
				before := w.Sum().Frames
				w.Run(20 * time.Second)
				quiet := w.Sum().Frames
				l := w.Turn(nodes...)
				l.Age = age
				for range 30 {
					victim := w.nodes[w.Rand.IntN(n)]
					if !l.Lies(victim) {
						l.Accuse(victim)
					}
					for range n {
						l.Slander()
					}
					w.Run(time.Second)
				}
				w.Run(5 * time.Second)
				t.Logf("%d certificates, frames a second %d -> %d, false deaths %d", l.Accusations, (quiet-before)/20, (w.Sum().Frames-quiet)/35, w.FalseDeaths)
				mustHaveNoFalseDeath(t, w)
				for _, n := range w.nodes {
					if !l.Lies(n) && l.Doubters(n) > 0 {
						t.Errorf("node %d is lost to %d", n.Index, l.Doubters(n))
					}
				}
			})
		}
	}
}

// TestDroppedMemberIsReadmittedAmongLiars cuts a member off until liars have it dropped, and holds everybody honest to
// listing it again within two seconds of its refutation, which no liar passes on.
func TestDroppedMemberIsReadmittedAmongLiars(t *testing.T) {
	t.Parallel()
	for _, n := range []int{8, 24, 64} {
		t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
			w := NewWorld(uint64(n), gossip.WAN())
			anywhere(w, 0.05)
			settle(t, w, n)
			var liars []*Node
			for i := range n * 3 / 10 {
				liars = append(liars, w.nodes[3*i])
			}
			l := w.Turn(liars...)
			for _, i := range []int{1, 5, 7} {
				took, err := l.Readmission(w.nodes[i], time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if t.Logf("node %d: %s", i, took); took > 2*time.Second {
					t.Errorf("node %d is listed by all again %s after its refutation, want 2 s", i, took)
				}
				w.Run(10 * time.Second)
			}
		})
	}
}
