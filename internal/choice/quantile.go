package choice

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// buckets of a quarter of a power of two from 16 µs on: the last begins at about 15 minutes.
	buckets    = 104
	bucketBase = 16 * time.Microsecond
	// enough is how many answers a Latencies needs to have an opinion, and full how many before it halves what it knows.
	enough = 50
	full   = 2048
)

// Latencies remembers how long the newest answers took, the older the less. Its methods may be called by any number of
// goroutines; a count more or less at the moment of halving does not matter.
type Latencies struct {
	counts [buckets]atomic.Uint32
	total  atomic.Uint32
}

// Observe takes an answer.
func (l *Latencies) Observe(took time.Duration) {
	l.counts[bucketOf(took)].Add(1)
	if l.total.Add(1) < full {
		return
	}
	var total uint32
	for n := range l.counts {
		half := l.counts[n].Load() / 2
		l.counts[n].Store(half)
		total += half
	}
	l.total.Store(total)
}

// Quantile returns the time within which this share of the answers came, up to a quarter of a power of two too long; false
// while there have been few.
func (l *Latencies) Quantile(share float64) (time.Duration, bool) {
	total := l.total.Load()
	if total < enough {
		return 0, false
	}
	want := uint32(math.Ceil(share * float64(total)))
	var seen uint32
	for n := range l.counts {
		if seen += l.counts[n].Load(); seen >= want {
			return upperEdge(n), true
		}
	}
	return upperEdge(buckets - 1), true
}

func bucketOf(took time.Duration) int {
	if took <= bucketBase {
		return 0
	}
	return min(buckets-1, int(4*math.Log2(float64(took)/float64(bucketBase))))
}

func upperEdge(bucket int) time.Duration {
	return time.Duration(float64(bucketBase) * math.Exp2(float64(bucket+1)/4))
}
