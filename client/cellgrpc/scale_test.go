package cellgrpc

import (
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cellnode/cellnode/manifest"
)

const (
	// A worker computes for about workTime per call and is given a tenth of a core: a call each slot.
	workTime = time.Millisecond
	slot     = 10 * workTime
	// settle is what a change of the number of instances is given before it is measured, for as long.
	settle = 2 * time.Second
)

// worker is a service that is bound by its processor, held to a tenth of a core by a token bucket. One that is idle only
// keeps the time, for machines that have not got a whole core to spare for eight workers.
type worker struct {
	idle bool
	mu   sync.Mutex
	next time.Time
	done atomic.Int64
}

func (w *worker) handle(x any, s grpc.ServerStream) error {
	w.mu.Lock()
	if now := time.Now(); w.next.Before(now) {
		w.next = now
	}
	w.next = w.next.Add(slot)
	mine := w.next
	w.mu.Unlock()
	select {
	case <-time.After(time.Until(mine) - workTime):
	case <-s.Context().Done():
		return s.Context().Err()
	}
	var sum [sha256.Size]byte
	for began := time.Now(); !w.idle && time.Since(began) < workTime; {
		sum = sha256.Sum256(sum[:])
	}
	w.done.Add(1)
	return answers(x, s)
}

// cluster is a number of workers that can be changed.
type cluster struct {
	testing.TB
	idle  bool
	nodes []*node
	seeds []manifest.Seed
}

func (c *cluster) scale(to int) {
	c.Helper()
	for len(c.nodes) < to {
		n := startNode(c, (&worker{idle: c.idle}).handle, c.seeds)
		c.nodes, c.seeds = append(c.nodes, n), append(c.seeds, n.seed())
	}
	var wg sync.WaitGroup
	for _, n := range c.nodes[to:] {
		wg.Go(func() {
			if err := n.leave(within(c)); err != nil {
				c.Log(err)
			}
		})
	}
	wg.Wait()
	c.nodes, c.seeds = c.nodes[:to], c.seeds[:to]
}

// BenchmarkScale lets one unchanged client call a cell of 1, 2, 4, 8 and again 4, 2, 1 instances, and reports how many calls
// are answered from two seconds after each change on, against so many times what one instance did.
func BenchmarkScale(b *testing.B) {
	b.Run("computing", func(b *testing.B) { benchmarkScale(b, false) })
	b.Run("idle", func(b *testing.B) { benchmarkScale(b, true) })
}

func benchmarkScale(b *testing.B, idle bool) {
	steps := []int{1, 2, 4, 8, 4, 2, 1}
	for b.Loop() {
		c := &cluster{TB: b, idle: idle}
		c.scale(1)
		calls := startCallers(dialCell(b, c.seeds), 64, buyMethod)
		calls.more(b, 100)
		var ratios []float64
		var one float64
		for _, n := range steps {
			c.scale(n)
			rate := rateAfter(calls, settle)
			if one == 0 {
				one = rate
			}
			ratio := rate / one / float64(n)
			ratios = append(ratios, ratio)
			b.Logf("%d instances: %.0f calls/s, %.2f of linear", n, rate, ratio)
		}
		made, failed := calls.stop()
		b.ReportMetric(slices.Min(ratios), "×linear-least")
		b.ReportMetric(float64(len(failed)), "failed")
		b.ReportMetric(0, "ns/op")
		if len(failed) > 0 {
			b.Errorf("%d of %d calls failed, the first with: %v", len(failed), made, failed[0])
		}
		c.scale(0)
	}
}

// rateAfter returns the calls per second in as much time as the callers are given to settle.
func rateAfter(c *callers, settle time.Duration) float64 {
	wait(settle)
	before, began := c.made(), time.Now()
	wait(settle)
	return float64(c.made()-before) / time.Since(began).Seconds()
}

// wait is for benchmarks, which last for as long as they measure.
func wait(d time.Duration) { <-time.NewTimer(d).C }

func TestEachOfFourNewInstancesTakesItsShare(t *testing.T) {
	c := &cluster{TB: t}
	workers := make([]*worker, 4)
	for n := range workers {
		workers[n] = new(worker)
		i := startNode(t, workers[n].handle, c.seeds)
		c.seeds = append(c.seeds, i.seed())
	}
	calls := startCallers(dialCell(t, c.seeds[:1]), 32, buyMethod)
	least := func() int64 {
		counts := make([]int64, len(workers))
		for n, w := range workers {
			counts[n] = w.done.Load()
		}
		return slices.Min(counts)
	}
	eventually(t, "all four work", func() bool { return least() >= 10 })
	before := make([]int64, len(workers))
	for n, w := range workers {
		before[n] = w.done.Load()
	}
	calls.more(t, 400)
	for n, w := range workers {
		if got := w.done.Load() - before[n]; got < 50 {
			t.Errorf("instance %d took %d of 400 calls", n, got)
		}
	}
	if _, failed := calls.stop(); len(failed) > 0 {
		t.Error(failed[0])
	}
}
