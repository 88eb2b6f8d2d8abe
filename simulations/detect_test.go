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
