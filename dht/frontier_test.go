package dht

import (
	"math/rand/v2"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// crawlModel runs a frontier over peers of which each knows some others, named as closest to a target.
func crawlModel(f *frontier, tables map[peer.ID][]peer.ID, k int) (inside map[peer.ID]bool) {
	inside = map[peer.ID]bool{}
	parts := targets(f.centre, f.shared, regionSplit)
	for {
		v, ok := f.next()
		if !ok {
			return inside
		}
		known, alive := tables[v.peer]
		if !alive {
			f.missed(v)
			continue
		}
		f.heard(v, closestTo(parts[rand.IntN(len(parts))], known, k))
		if f.inside(v.peer) {
			inside[v.peer] = true
		}
	}
}

// tablesOf gives each peer a Kademlia table: k peers for each length of prefix shared with it.
func tablesOf(all []peer.ID, k int) map[peer.ID][]peer.ID {
	out := map[peer.ID][]peer.ID{}
	for _, p := range all {
		buckets := map[int]int{}
		for _, i := range rand.Perm(len(all)) {
			b := prefixLen(at(string(p)), at(string(all[i])))
			if all[i] != p && buckets[b] < k {
				buckets[b]++
				out[p] = append(out[p], all[i])
			}
		}
	}
	return out
}

func TestCrawlSeesTheWholeRegion(t *testing.T) {
	const k = 20
	all := randomPeers(1000)
	tables := tablesOf(all, k)
	centre := at("exchange")
	for trial := range 2 {
		f := newFrontier("me", centre, 4, k, all[:2*k])
		seen := crawlModel(f, tables, k)
		missed := 0
		for _, p := range all {
			if f.inside(p) && !seen[p] {
				missed++
			}
		}
		t.Logf("trial %d: %d of the region seen, %d missed, %d visits, estimate %.0f", trial, len(seen), missed, f.inner+f.outer, f.estimate())
		if missed > len(seen)/20 {
			t.Errorf("missed %d of %d", missed, missed+len(seen))
		}
		if e := f.estimate(); e < 400 || e > 2000 {
			t.Errorf("estimate %.0f of 1000", e)
		}
		if !f.whole() {
			t.Error("the limit ended it")
		}
	}
}

// Half of the roots belong to an attacker, who names ever new peers that do not exist.
func TestInventedPeersCostTheirOwnRootsTurnsOnly(t *testing.T) {
	const k = 20
	all := randomPeers(1000)
	tables := tablesOf(all, k)
	f := newFrontier("me", at("exchange"), 4, k, all[:2*k])
	liars := map[peer.ID]bool{}
	for _, p := range all[:k] {
		liars[p] = true
	}
	parts := targets(f.centre, f.shared, regionSplit)
	honest := map[peer.ID]bool{}
	for {
		v, ok := f.next()
		if !ok {
			break
		}
		switch known := tables[v.peer]; {
		case liars[v.peer]:
			var invented []peer.ID
			for range 2 * k {
				invented = append(invented, peer.ID(targets(f.centre, f.shared, 0)[0]))
			}
			f.heard(v, invented)
		case known != nil:
			f.heard(v, closestTo(parts[rand.IntN(len(parts))], known, k))
			if f.inside(v.peer) {
				honest[v.peer] = true
			}
		default:
			f.missed(v)
		}
	}
	total := 0
	for _, p := range all {
		if f.inside(p) && !liars[p] {
			total++
		}
	}
	t.Logf("%d of %d honest seen in %d visits", len(honest), total, f.inner+f.outer)
	if len(honest) < total*3/4 {
		t.Errorf("%d of %d honest seen", len(honest), total)
	}
	if f.inner+f.outer > 11*k {
		t.Errorf("%d visits", f.inner+f.outer)
	}
}

func TestSybilsAtTheKeyDoNotMoveTheEstimate(t *testing.T) {
	f := newFrontier("me", at("exchange"), 1, 20, nil)
	for _, p := range randomPeers(200) {
		f.heard(visit{p, &root{}}, nil)
	}
	for range 100 {
		f.heard(visit{peer.ID(targets(f.centre, 8, 0)[0]), &root{}}, nil)
	}
	// members counts by part, whether inside or not is the caller's filter: 200 honest fill the parts of half the space.
	if e := f.estimate(); e < 100 || e > 320 {
		t.Errorf("estimate %.0f of 200", e)
	}
}

func TestCrawlTakesUpOnlyWhatLeadsToTheRegion(t *testing.T) {
	f := newFrontier("me", at("exchange"), 6, 20, []peer.ID{"root"})
	v, ok := f.next()
	if !ok || v.peer != "root" {
		t.Fatal("root is not visited")
	}
	if _, again := f.next(); again {
		t.Fatal("visited twice")
	}
	named := append(randomPeers(200), "me", "root")
	f.heard(v, named)
	own := prefixLen(f.centre, at("root"))
	for {
		v, ok := f.next()
		if !ok {
			break
		}
		if n := prefixLen(f.centre, at(string(v.peer))); n < 6 && n <= own || v.peer == "me" || v.peer == "root" {
			t.Fatalf("took up %q with %d bits shared", v.peer, n)
		}
	}
}
