package gossip

import (
	"cmp"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
)

// placed is a peer and where it stands.
type placed struct {
	at uint64
	id peer.ID
}

func comparePlaced(a, b placed) int {
	if a.at != b.at {
		return cmp.Compare(a.at, b.at)
	}
	return cmp.Compare(a.id, b.id)
}

// order is peers sorted by their places, in a circle. What changes lies over a settled list that never does: so a change
// moves few bytes in a cell of thousands, and machines that begin with one Census share its lists.
type order struct {
	settled []placed // sorted
	gone    bits     // of settled, who is not there any more
	added   []placed // sorted; none of them is in settled
}

// bits are a set of small numbers; the zero value is empty.
type bits struct {
	words []uint64
	count int
}

func (b *bits) has(i int) bool { return b.words != nil && b.words[i/64]>>(i%64)&1 == 1 }

// set puts a number below size in, or takes it out.
func (b *bits) set(i, size int, in bool) {
	if b.has(i) == in {
		return
	}
	if b.words == nil {
		b.words = make([]uint64, (size+63)/64)
	}
	b.words[i/64] ^= 1 << (i % 64)
	if in {
		b.count++
	} else {
		b.count--
	}
}

func (o *order) len() int { return len(o.settled) + len(o.added) - o.gone.count }

func (o *order) has(p placed) bool {
	if _, found := search(o.added, p); found {
		return true
	}
	i, found := search(o.settled, p)
	return found && !o.gone.has(i)
}

func (o *order) add(p placed) {
	if i, found := search(o.settled, p); found {
		o.gone.set(i, len(o.settled), false)
		return
	}
	if at, found := search(o.added, p); !found {
		o.added = slices.Insert(o.added, at, p)
	}
	o.settle()
}

func (o *order) remove(p placed) {
	if at, found := search(o.added, p); found {
		o.added = slices.Delete(o.added, at, at+1)
	} else if i, found := search(o.settled, p); found {
		o.gone.set(i, len(o.settled), true)
	}
	o.settle()
}

// settle makes one list of both when many have come, or most have gone.
func (o *order) settle() {
	const few = 16
	if len(o.added) > few+len(o.settled)/8 || o.gone.count > few+len(o.settled)*3/4 {
		*o = order{settled: slices.AppendSeq(make([]placed, 0, o.len()), o.after(placed{}))}
	}
}

// after yields everybody, once round the circle from the first at or behind a place.
func (o *order) after(from placed) iter.Seq[placed] {
	i, _ := search(o.settled, from)
	j, _ := search(o.added, from)
	return func(yield func(placed) bool) {
		_ = o.merge(i, len(o.settled), o.added[j:], yield) && o.merge(0, i, o.added[:j], yield)
	}
}

// before yields everybody, once round the circle against its direction, from the last before a place.
func (o *order) before(from placed) iter.Seq[placed] {
	i, _ := search(o.settled, from)
	j, _ := search(o.added, from)
	return func(yield func(placed) bool) {
		_ = o.mergeBack(0, i, o.added[:j], yield) && o.mergeBack(i, len(o.settled), o.added[j:], yield)
	}
}

// merge yields, in order, who is there of a part of the settled list and of one of the added, and reports whether it
// reached the end.
func (o *order) merge(low, high int, added []placed, yield func(placed) bool) bool {
	for low < high || len(added) > 0 {
		var p placed
		switch {
		case low < high && o.gone.has(low):
			low++
			continue
		case low == high || len(added) > 0 && comparePlaced(added[0], o.settled[low]) < 0:
			p, added = added[0], added[1:]
		default:
			p = o.settled[low]
			low++
		}
		if !yield(p) {
			return false
		}
	}
	return true
}

// mergeBack is merge from the end.
func (o *order) mergeBack(low, high int, added []placed, yield func(placed) bool) bool {
	for low < high || len(added) > 0 {
		var p placed
		last := len(added) - 1
		switch {
		case low < high && o.gone.has(high-1):
			high--
			continue
		case low == high || last >= 0 && comparePlaced(added[last], o.settled[high-1]) > 0:
			p, added = added[last], added[:last]
		default:
			high--
			p = o.settled[high]
		}
		if !yield(p) {
			return false
		}
	}
	return true
}

// draw picks one by chance; there must be one.
func (o *order) draw(r *rand.Rand) peer.ID {
	for {
		i := r.IntN(len(o.settled) + len(o.added))
		if i >= len(o.settled) {
			return o.added[i-len(o.settled)].id
		}
		if !o.gone.has(i) {
			return o.settled[i].id
		}
	}
}

func search(sorted []placed, p placed) (int, bool) {
	return slices.BinarySearchFunc(sorted, p, comparePlaced)
}
