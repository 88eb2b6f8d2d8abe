package gossip

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

func drawPlaced(t *rapid.T) placed {
	n := rapid.IntRange(0, 40).Draw(t, "peer")
	return placed{at: uint64(n * 7 % 13), id: peer.ID(fmt.Sprint("peer ", n))} // places are shared, now and then
}

func collect(all iter.Seq[placed]) []placed { return slices.Collect(all) }

// TestLayersMakeNoDifference holds an order over a shared list, through joins and leaves, to what one plain sorted list says.
func TestLayersMakeNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfDistinct(rapid.Custom(drawPlaced), func(p placed) placed { return p }).Draw(t, "settled")
		slices.SortFunc(plain, comparePlaced)
		shared := slices.Clone(plain)
		o := order{settled: shared}
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			p := drawPlaced(t)
			at, found := search(plain, p)
			switch add := rapid.Bool().Draw(t, "add"); {
			case add:
				o.add(p)
				if !found {
					plain = slices.Insert(slices.Clone(plain), at, p)
				}
			default:
				o.remove(p)
				if found {
					plain = slices.Delete(slices.Clone(plain), at, at+1)
				}
			}
		}
		from := drawPlaced(t)
		at, found := search(plain, from)
		round := slices.Concat(plain[at:], plain[:at])
		if got := collect(o.after(from)); !slices.Equal(got, round) {
			t.Fatalf("after %v: %v, want %v", from, got, round)
		}
		slices.Reverse(round)
		if got := collect(o.before(from)); !slices.Equal(got, round) {
			t.Fatalf("before %v: %v, want %v", from, got, round)
		}
		if o.len() != len(plain) || o.has(from) != found {
			t.Fatalf("%d members, %v among them: %v; want %d, %v", o.len(), from, o.has(from), len(plain), found)
		}
	})
}

func TestSharedListIsNeverChanged(t *testing.T) {
	var settled []placed
	for i := range 200 {
		settled = append(settled, placed{at: uint64(i), id: peer.ID(fmt.Sprint("peer ", i))})
	}
	before := slices.Clone(settled)
	o := order{settled: settled}
	for i := range 100 {
		o.remove(settled[2*i])
		o.add(placed{at: uint64(i), id: peer.ID(fmt.Sprint("newcomer ", i))})
	}
	if !slices.Equal(settled, before) {
		t.Error("others would see these changes")
	}
	if len(o.added)+o.gone.count > 60 {
		t.Errorf("%d changes lie over %d members", len(o.added)+o.gone.count, o.len())
	}
}

func TestEverybodyPresentIsDrawn(t *testing.T) {
	o := order{settled: []placed{{1, "a"}, {2, "b"}, {3, "c"}}}
	o.remove(placed{2, "b"})
	o.add(placed{4, "d"})
	drawn := make(map[peer.ID]int)
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		drawn[o.draw(r)]++
	}
	for _, id := range []peer.ID{"a", "c", "d"} {
		if drawn[id] < 60 {
			t.Errorf("%s was drawn %d times of 300", id, drawn[id])
		}
	}
	if len(drawn) != 3 {
		t.Errorf("drawn: %v", drawn)
	}
}
