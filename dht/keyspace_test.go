package dht

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"pgregory.net/rapid"
)

func TestRegionHoldsTwoToFourTimesKPeers(t *testing.T) {
	for _, c := range []struct {
		n    float64
		k    int
		want int
	}{
		{0, 20, 0},
		{1, 20, 0},
		{40, 20, 0},
		{79, 20, 0},
		{80, 20, 1},
		{100, 20, 1},
		{1000, 20, 4},
		{10_000, 20, 7},
		{64, 8, 2},
		{math.Inf(1), 20, regionMaxBits},
	} {
		got := regionBits(c.n, c.k)
		if got != c.want {
			t.Errorf("regionBits(%v, %d) = %d, want %d", c.n, c.k, got, c.want)
		}
		if inside := c.n / math.Exp2(float64(got)); got > 0 && got < regionMaxBits && (inside < 2*float64(c.k) || inside >= 4*float64(c.k)) {
			t.Errorf("%v of %v peers inside", inside, c.n)
		}
	}
}

func TestTargetsLieOneInEachPartOfTheRegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		centre := at(rapid.String().Draw(t, "key"))
		shared := rapid.IntRange(0, 8).Draw(t, "shared")
		var parts []uint64
		for _, target := range targets(centre, shared, regionSplit) {
			p := at(target)
			if prefixLen(centre, p) < shared {
				t.Fatal("target outside the region")
			}
			if _, err := multihash.Cast([]byte(target)); err != nil {
				t.Fatal(err)
			}
			parts = append(parts, bitsAt(p, shared, regionSplit))
		}
		if !slices.Equal(parts, []uint64{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Fatalf("parts %v", parts)
		}
	})
}

func TestDistanceAgreesWithPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := at(rapid.String().Draw(t, "a")), at(rapid.String().Draw(t, "b"))
		d, n := distance(a, b), prefixLen(a, b)
		if d != distance(b, a) || n != prefixLen(b, a) {
			t.Fatal("not symmetric")
		}
		if a == b && (d != 0 || n != 256) {
			t.Fatalf("equal positions: %v, %d", d, n)
		}
		if n < 50 && (d < math.Exp2(-float64(n)-1) || d > math.Exp2(-float64(n))) {
			t.Fatalf("distance %v with %d bits shared", d, n)
		}
	})
}

func randomPeers(n int) []peer.ID {
	out := make([]peer.ID, n)
	for i, t := range randomTargets(n) {
		out[i] = peer.ID(t)
	}
	return out
}

func closestTo(target string, all []peer.ID, k int) []peer.ID {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b peer.ID) int {
		if distance(at(target), at(string(a))) < distance(at(target), at(string(b))) {
			return -1
		}
		return 1
	})
	return all[:min(k, len(all))]
}

func everyone(peer.ID) bool { return true }

func TestInventedPeersDoNotRaiseTheEstimate(t *testing.T) {
	all := randomPeers(100)
	real := map[peer.ID]bool{}
	for _, p := range all {
		real[p] = true
	}
	target := randomTargets(1)[0]
	for range 15 {
		all = append(all, peer.ID(targets(at(target), 10, 0)[0]))
	}
	if n := density(target, closestTo(target, all, 20), func(p peer.ID) bool { return real[p] }, 20); n > 400 {
		t.Errorf("estimate %.0f of 100", n)
	}
}

func TestEstimateIsNearTheTruth(t *testing.T) {
	for _, n := range []int{5, 19, 100, 1000, 5000} {
		all := randomPeers(n)
		var e estimator
		if e.fresh() || e.estimate() != 0 {
			t.Error("an estimate without samples")
		}
		for _, target := range randomTargets(9) {
			e.add(density(target, closestTo(target, all, 20), everyone, 20))
		}
		if got := e.estimate(); got < float64(n)/1.8 || got > float64(n)*1.8+1 {
			t.Errorf("%d peers: estimate %.0f", n, got)
		}
		if !e.fresh() {
			t.Error("samples are old at once")
		}
		e.s[0].at = time.Now().Add(-sampleMaxAge - time.Second)
		if e.fresh(); len(e.s) != 8 {
			t.Error("an old sample is kept")
		}
	}
}
