package dht

import (
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	surveyLookups = 4 // look-ups of random targets when there is no estimate
	sampleKeep    = 9
	sampleMaxAge  = 30 * time.Minute
)

// estimator keeps the size of the network as samples show it. kad-dht has one too (NetworkSize), but it averages the
// distances of every look-up, so that Sybils at a key that is often looked up shrink the region they must own. This one
// takes look-ups of random targets and the medians of crawled regions, and of these the median.
type estimator struct {
	mu sync.Mutex
	s  []sample // oldest first
}

type sample struct {
	n  float64
	at time.Time
}

func (e *estimator) add(n float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s = append(e.s, sample{n, time.Now()})
	if len(e.s) > sampleKeep {
		e.s = slices.Delete(e.s, 0, len(e.s)-sampleKeep)
	}
}

// fresh reports whether there is a sample, having dropped the old.
func (e *estimator) fresh() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s = slices.DeleteFunc(e.s, func(s sample) bool { return time.Since(s.at) > sampleMaxAge })
	return len(e.s) > 0
}

// estimate returns the median of the samples, 0 without any.
func (e *estimator) estimate() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.s) == 0 {
		return 0
	}
	n := make([]float64, len(e.s))
	for i, s := range e.s {
		n[i] = s.n
	}
	slices.Sort(n)
	return n[len(n)/2]
}

// density returns the number of peers that the k closest to target speak for: those of them that are there, but one,
// divided by the distance of the farthest, which is unbiased for peers placed uniformly. A look-up leaves us connected
// to those who are there; peers invented by a liar on its way count for nothing, and make the result too small, which
// costs work and hides nobody. Fewer than k are all there are.
func density(target string, closest []peer.ID, there func(peer.ID) bool, k int) float64 {
	if len(closest) < k {
		return float64(len(closest) + 1)
	}
	far, n := 0.0, -1
	for _, p := range closest {
		far = max(far, distance(at(target), at(string(p))))
		if there(p) {
			n++
		}
	}
	return max(0, float64(n)/max(far, 1e-18))
}
