package main

import "slices"

// An estimate is a median with the bounds between which that of many more rounds lies, in 95 of 100 runs.
type estimate struct{ median, low, high float64 }

// estimateOf takes the bounds from the values' own order, which supposes nothing about how they are spread: the median
// of the distribution lies below the k-th smallest of n values with the probability of fewer than k heads in n throws.
func estimateOf(values []float64) estimate {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return estimate{}
	}
	k := boundRank(n)
	return estimate{(v[(n-1)/2] + v[n/2]) / 2, v[k], v[n-1-k]}
}

// boundRank is how many values lie outside on each side, so that both sides together are missed with 5 % at most. With
// fewer than six values no bounds are that sure, and the outermost are taken.
func boundRank(n int) int {
	probability := 1.0 // of exactly k heads
	for range n {
		probability /= 2
	}
	below, k := probability, 0
	for below <= 0.025 {
		k++
		probability *= float64(n-k+1) / float64(k)
		below += probability
	}
	return max(0, k-1)
}
