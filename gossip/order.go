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
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
}

// order is peers sorted by their places, in a circle. What changes lies over a settled list that never does: so a change
// moves few bytes in a cell of thousands, and machines that begin with one Census share its lists.
type order struct {
	settled []placed // sorted
	added   []placed // sorted; none of them is in settled
	gone    map[peer.ID]bool
}

func (o *order) len() int { return len(o.settled) + len(o.added) - len(o.gone) }

func (o *order) has(p placed) bool {
	if _, found := search(o.added, p); found {
		return true
	}
	_, found := search(o.settled, p)
	return found && !o.gone[p.id]
}

func (o *order) add(p placed) {
	if _, found := search(o.settled, p); found {
		delete(o.gone, p.id)
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
	} else if _, found := search(o.settled, p); found {
		if o.gone == nil {
			o.gone = make(map[peer.ID]bool)
		}
		o.gone[p.id] = true
	}
	o.settle()
}

// settle makes one list of both when the changes have become many.
func (o *order) settle() {
	const few = 16
	if len(o.added)+len(o.gone) > few+len(o.settled)/8 {
		*o = order{settled: slices.AppendSeq(make([]placed, 0, o.len()), o.after(placed{}))}
	}
}

// after yields everybody, once round the circle from the first at or behind a place.
func (o *order) after(from placed) iter.Seq[placed] {
	i, _ := search(o.settled, from)
	j, _ := search(o.added, from)
	return func(yield func(placed) bool) {
		_ = o.merge(o.settled[i:], o.added[j:], yield) && o.merge(o.settled[:i], o.added[:j], yield)
	}
}

// before yields everybody, once round the circle against its direction, from the last before a place.
func (o *order) before(from placed) iter.Seq[placed] {
	i, _ := search(o.settled, from)
	j, _ := search(o.added, from)
	return func(yield func(placed) bool) {
		_ = o.mergeBack(o.settled[:i], o.added[:j], yield) && o.mergeBack(o.settled[i:], o.added[j:], yield)
	}
}

// merge yields those of two sorted lists who are not gone, in order, and reports whether it reached the end.
func (o *order) merge(settled, added []placed, yield func(placed) bool) bool {
	for len(settled)+len(added) > 0 {
		from := &settled
		if len(settled) == 0 || len(added) > 0 && comparePlaced(added[0], settled[0]) < 0 {
			from = &added
		}
		p := (*from)[0]
		*from = (*from)[1:]
		if !(from == &settled && o.gone[p.id]) && !yield(p) {
			return false
		}
	}
	return true
}

// mergeBack is merge from the end.
func (o *order) mergeBack(settled, added []placed, yield func(placed) bool) bool {
	for len(settled)+len(added) > 0 {
		from := &settled
		if len(settled) == 0 || len(added) > 0 && comparePlaced(added[len(added)-1], settled[len(settled)-1]) > 0 {
			from = &added
		}
		last := len(*from) - 1
		p := (*from)[last]
		*from = (*from)[:last]
		if !(from == &settled && o.gone[p.id]) && !yield(p) {
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
		if id := o.settled[i].id; !o.gone[id] {
			return id
		}
	}
}

func search(sorted []placed, p placed) (int, bool) {
	return slices.BinarySearchFunc(sorted, p, comparePlaced)
}
