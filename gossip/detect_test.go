package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"
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
			w := newWorld(t, uint64(n), LAN())
			w.cell(n)
			var took []time.Duration
			for range 6 {
				victim := w.nodes[w.rand.IntN(n)]
				w.run(time.Duration(w.rand.Int64N(int64(5 * time.Second))))
				victim.crash()
				took = append(took, w.gone(victim, 5*time.Second))
				w.mustAgree()
				w.run(5 * time.Second)
				victim.start(w.nodes[(victim.index+1)%n])
				w.run(20 * time.Second)
				w.mustAgree()
			}
			t.Logf("p50 %s max %s", quantile(took, 0.5), quantile(took, 1))
		})
	}
}
