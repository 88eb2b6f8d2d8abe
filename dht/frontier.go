package dht

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
)

// frontier is the part of a region crawl that decides: whom to visit next, and whom of those that an answer names. It
// is pure; one goroutine owns it.
//
// Every peer belongs to the root through which it was heard of, the roots being peers that we knew before, and the
// roots take turns. So an answer full of invented peers uses up its own root's turns only (the idea of S/Kademlia's
// disjoint paths, without its look-ups that stop at the closest few, which the attacker owns).
type frontier struct {
	centre position
	shared int // prefix of the region, in bits
	k      int // bucket size of the network

	roots    []*root
	turn     int // of the roots
	known    map[peer.ID]bool
	inner    int                   // visits to members of the region
	outer    int                   // visits to peers on the way there, roots apart
	answered [1 << regionSplit]int // members that answered, by part of the region
}

// root is a peer that we knew before, and whom we heard of through it.
type root struct {
	first []peer.ID // itself, until visited
	in    []peer.ID // members of the region
	way   []peer.ID // others, nearest to the region first

	there, gone int // visits that were answered, and that were not
}

// doubtful says that most of whom we heard of through r are not there. It then waits for the other roots.
func (r *root) doubtful() bool { return r.gone > r.there+2 }

// visit is one peer that is being asked.
type visit struct {
	peer peer.ID
	root *root
}

func newFrontier(self peer.ID, centre position, shared, k int, roots []peer.ID) *frontier {
	f := &frontier{centre: centre, shared: shared, k: k, known: map[peer.ID]bool{self: true}}
	for _, p := range roots {
		if !f.known[p] {
			f.known[p] = true
			f.roots = append(f.roots, &root{first: []peer.ID{p}})
		}
	}
	return f
}

// innerLimit is twice what an honest region holds at most. outerLimit is ample for the few steps of an approach.
func (f *frontier) innerLimit() int { return 8 * f.k }
func (f *frontier) outerLimit() int { return 2 * f.k }

// next returns the next peer to visit: the roots, then members of the region, and for every four of these, or when there
// are none, one on the way. False: there is none for now, or the limits are reached.
func (f *frontier) next() (visit, bool) {
	if v, ok := f.take(func(r *root) *[]peer.ID { return &r.first }); ok {
		return v, true
	}
	in, way := f.inner < f.innerLimit(), f.outer < f.outerLimit()
	if way && f.outer*4 < f.inner {
		if v, ok := f.takeWay(); ok {
			return v, true
		}
	}
	if in {
		if v, ok := f.take(func(r *root) *[]peer.ID { return &r.in }); ok {
			f.inner++
			return v, true
		}
	}
	if way {
		return f.takeWay()
	}
	return visit{}, false
}

func (f *frontier) takeWay() (visit, bool) {
	v, ok := f.take(func(r *root) *[]peer.ID { return &r.way })
	if ok {
		f.outer++
	}
	return v, ok
}

// take returns the head of the named queue of the next root in turn that has one; doubtful roots come after the others.
func (f *frontier) take(queue func(*root) *[]peer.ID) (visit, bool) {
	for _, doubtful := range []bool{false, true} {
		for range f.roots {
			r := f.roots[f.turn%len(f.roots)]
			f.turn++
			if q := queue(r); len(*q) > 0 && r.doubtful() == doubtful {
				p := (*q)[0]
				*q = (*q)[1:]
				return visit{p, r}, true
			}
		}
	}
	return visit{}, false
}

// whole reports whether every member of the region that was heard of has been visited.
func (f *frontier) whole() bool {
	return !slices.ContainsFunc(f.roots, func(r *root) bool { return len(r.in) > 0 })
}

// inside reports whether p belongs to the region.
func (f *frontier) inside(p peer.ID) bool { return prefixLen(f.centre, at(string(p))) >= f.shared }

// heard notes that v answered and named others. Taken up are members of the region, and peers nearer to it than v.
func (f *frontier) heard(v visit, named []peer.ID) {
	v.root.there++
	own := at(string(v.peer))
	reached := prefixLen(f.centre, own)
	if reached >= f.shared {
		f.answered[bitsAt(own, f.shared, regionSplit)]++
	}
	for _, p := range named {
		if f.known[p] {
			continue
		}
		switch near := prefixLen(f.centre, at(string(p))); {
		case near >= f.shared:
			f.known[p] = true
			v.root.in = append(v.root.in, p)
		case near > reached:
			f.known[p] = true
			v.root.addWay(p, near, f.centre)
		}
	}
}

// missed notes that v did not answer.
func (f *frontier) missed(v visit) { v.root.gone++ }

// addWay keeps the queue in the order of the prefix shared with the region.
func (r *root) addWay(p peer.ID, near int, centre position) {
	i := 0
	for i < len(r.way) && prefixLen(centre, at(string(r.way[i]))) >= near {
		i++
	}
	r.way = slices.Insert(r.way, i, p)
}

// estimate returns the size of the network that the crawl speaks for: the median part, times the number of such parts
// in the key space. Sybils ground against a key crowd one or two of the parts and leave the median alone.
func (f *frontier) estimate() float64 {
	m := f.answered
	slices.Sort(m[:])
	median := float64(m[len(m)/2]+m[len(m)/2-1]) / 2
	return median * float64(int(1)<<(f.shared+regionSplit))
}
