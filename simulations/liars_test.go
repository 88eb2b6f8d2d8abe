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
					if !l.Lies(n) && w.honestListers(n) != n.w.Present()-len(nodes)-1 {
						t.Errorf("node %d is lost to some", n.Index)
					}
				}
			})
		}
	}
}

// honestListers counts the honest members, besides itself, that list a node.
func (w *World) honestListers(n *Node) int {
	count := 0
	for _, o := range w.nodes {
		if o != n && o.Bend == nil && o.Lists(n) {
			count++
		}
	}
	return count
}
