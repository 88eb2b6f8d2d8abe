package gossip

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// day is how long a ring keeps its order. An attacker who grinds a key for a place on a ring loses the place by then.
const day = 24 * time.Hour

// ringSkew is for how long before and after a ring's turn both of its orders are accepted, because clocks and views
// differ.
const ringSkew = 10 * time.Minute

// rings order the members of a cell K times, each by another hash. A member's observers are its successors: the
// first one on each ring that is not its observer already. Up to mesh members everybody observes everybody.
//
// Positions need nothing but the cell, the day and the peer ID, so all members agree on them.
type rings struct {
	cell   cid.Cid
	domain []byte // what the hash of every place begins with
	mesh   int
	epoch  []uint64 // of each ring, as it lies in order
	order  []order
	last   picked
}

// picked is the last answer of pick, kept until a member comes or goes: the votes of a certificate are about one subject.
type picked struct {
	of               peer.ID // empty: none is kept
	picks, runnersUp []peer.ID
}

func newRings(cell cid.Cid, k, mesh int, now time.Time) *rings {
	r := &rings{
		cell: cell, domain: signable("cell/ring/v1", cell.Bytes()), mesh: mesh,
		epoch: make([]uint64, k), order: make([]order, k),
	}
	for i := range r.epoch {
		r.epoch[i] = r.epochAt(i, now)
	}
	return r
}

// share returns rings of their own that begin as these are.
func (r *rings) share() *rings {
	own := *r
	own.epoch, own.order = slices.Clone(r.epoch), slices.Clone(r.order)
	return &own
}

// epochAt numbers the days of ring i. Ring i turns at i·24/K h UTC, so that never more than one is turning.
func (r *rings) epochAt(i int, now time.Time) uint64 {
	shift := day * time.Duration(i) / time.Duration(len(r.epoch))
	return uint64(now.Add(-shift).Unix()) / uint64(day/time.Second)
}

// place is where a peer stands on ring i during an epoch.
func (r *rings) place(i int, epoch uint64, id peer.ID) placed {
	var n [16]byte
	binary.BigEndian.PutUint64(n[0:], epoch)
	binary.BigEndian.PutUint64(n[8:], uint64(i))
	var room [128]byte // on the stack
	sum := sha256.Sum256(appendField(appendField(append(room[:0], r.domain...), n[:]), id))
	return placed{binary.BigEndian.Uint64(sum[:]), id}
}

func (r *rings) len() int { return r.order[0].len() }

func (r *rings) add(id peer.ID) {
	r.last = picked{}
	for i := range r.order {
		r.order[i].add(r.place(i, r.epoch[i], id))
	}
}

func (r *rings) remove(id peer.ID) {
	r.last = picked{}
	for i := range r.order {
		r.order[i].remove(r.place(i, r.epoch[i], id))
	}
}

// turn brings every ring to the order of now and reports whether one changed.
func (r *rings) turn(now time.Time) bool {
	changed := false
	for i := range r.order {
		if e := r.epochAt(i, now); e != r.epoch[i] {
			r.epoch[i], changed, r.last = e, true, picked{}
			r.order[i] = r.reorder(i, e)
		}
	}
	return changed
}

// nextTurn is when the next ring turns.
func (r *rings) nextTurn(now time.Time) time.Time {
	var next time.Time
	for i := range r.epoch {
		shift := day * time.Duration(i) / time.Duration(len(r.epoch))
		at := time.Unix(int64(r.epochAt(i, now)+1)*int64(day/time.Second), 0).Add(shift)
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

func (r *rings) reorder(i int, epoch uint64) order {
	places := make([]placed, 0, r.order[i].len())
	for p := range r.order[i].after(placed{}) {
		places = append(places, r.place(i, epoch, p.id))
	}
	slices.SortFunc(places, comparePlaced)
	return order{settled: places}
}

// observers lists who watches a peer, which need not be a member itself.
func (r *rings) observers(of peer.ID) []peer.ID {
	if r.len() <= r.mesh {
		return r.everybodyBut(of)
	}
	picks, _ := r.pick(of)
	return slices.Clone(picks)
}

// pick returns, for each ring, the first successor of a peer that an earlier ring has not given it already, and the
// one that would take its place. Adding or removing one member turns at most one runner-up into a pick. The slices are
// not to be changed.
func (r *rings) pick(of peer.ID) (picks, runnersUp []peer.ID) {
	if r.last.of == of && of != "" {
		return r.last.picks, r.last.runnersUp
	}
	picks, runnersUp = make([]peer.ID, 0, len(r.order)), make([]peer.ID, 0, len(r.order))
	for i := range r.order {
		found := 0
		for p := range r.order[i].after(r.place(i, r.epoch[i], of)) {
			if p.id == of || slices.Contains(picks, p.id) {
				continue
			}
			if found++; found == 2 {
				runnersUp = append(runnersUp, p.id)
				break
			}
			picks = append(picks, p.id)
		}
	}
	r.last = picked{of, picks, runnersUp}
	return picks, runnersUp
}

// successors returns the members behind a peer on the first n rings, each once.
func (r *rings) successors(of peer.ID, n int) []peer.ID {
	picks, _ := r.pick(of)
	return slices.Clone(picks[:min(n, len(picks))])
}

// subjects lists whom a member watches: on each ring its predecessor, and of the K before it those to whom an earlier ring
// has given all that lie between as observers already.
func (r *rings) subjects(of peer.ID) []peer.ID {
	if r.len() <= r.mesh {
		return r.everybodyBut(of)
	}
	var out []peer.ID
	for i := range r.order {
		before := r.predecessors(i, of)
		taken := make([]peer.ID, 0, i*len(r.order)) // those to whom an earlier ring may have given before[0]
		for j := range i {
			taken = append(taken, r.predecessors(j, before[0])...)
		}
		for back, id := range before {
			if (back == 0 || slices.Contains(taken, id)) && !slices.Contains(out, id) && slices.Contains(r.observers(id), of) {
				out = append(out, id)
			}
		}
	}
	return out
}

// predecessors lists the K members before a peer on a ring, the nearest first.
func (r *rings) predecessors(i int, of peer.ID) []peer.ID {
	out := make([]peer.ID, 0, len(r.order))
	for p := range r.order[i].before(r.place(i, r.epoch[i], of)) {
		if p.id != of {
			out = append(out, p.id)
		}
		if len(out) == cap(out) {
			break
		}
	}
	return out
}

func (r *rings) everybodyBut(id peer.ID) []peer.ID {
	out := make([]peer.ID, 0, r.len())
	for p := range r.order[0].after(placed{}) {
		if p.id != id {
			out = append(out, p.id)
		}
	}
	return out
}

// accepts reports whether observer's word about subject counts. Views differ a little between members, so on every
// ring the first two are taken (2K), and near a ring's turn also the first two in the order beside it.
func (r *rings) accepts(observer, subject peer.ID, now time.Time) bool {
	if observer == subject {
		return false
	}
	if r.len() <= r.mesh+tolerance {
		return r.has(observer)
	}
	picks, runnersUp := r.pick(subject)
	if slices.Contains(picks, observer) || slices.Contains(runnersUp, observer) {
		return true
	}
	for i := range r.order {
		for _, at := range []time.Time{now.Add(-ringSkew), now.Add(ringSkew)} {
			if e := r.epochAt(i, at); e != r.epoch[i] && r.firstTwo(i, e, subject, observer) {
				return true
			}
		}
	}
	return false
}

// firstTwo reports whether observer is one of a subject's first two successors in the order of another day.
func (r *rings) firstTwo(i int, epoch uint64, subject, observer peer.ID) bool {
	from := r.place(i, epoch, subject).at
	distance := r.place(i, epoch, observer).at - from // modulo 2^64: once round the ring
	nearer := 0
	for p := range r.order[i].after(placed{}) {
		if p.id != subject && r.place(i, epoch, p.id).at-from < distance {
			nearer++
		}
	}
	return nearer < 2 && r.has(observer)
}

func (r *rings) has(id peer.ID) bool { return r.order[0].has(r.place(0, r.epoch[0], id)) }
