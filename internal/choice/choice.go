// Package choice decides which instance of a cell a call goes to. It is the one place for gRPC, HTTP and raw connections,
// and knows no network: whoever finds instances fills a Set, whoever calls one says how that went.
//
// Of what is known a Set keeps a few (see Update). A call goes to the one of them with the least cost, which is how long
// the instance takes to answer times the calls that would then wait for it. All are looked at: of two drawn at random,
// often neither is near. How long it takes is a peak-sensitive moving average: it rises at once and falls with time, also
// where nobody calls, so that an instance that was slow is tried again. It begins with the measured round trip.
//
// An instance that fails calls in a row is put aside for a time that grows. One that others hold for dead is called only
// if there is no other, and one that is draining not at all.
package choice

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxKept is how many instances are kept. maxSpread of them are drawn by this client's own hash, so that in a large cell
	// no instance is unknown to everybody and not all that a client keeps goes down with one place; the rest are the nearest.
	MaxKept   = 16
	maxSpread = 4
	// maxRemembered bounds the instances whose past is remembered, with those that are kept.
	maxRemembered = 64
)

// A Member is an instance as discovery knows it.
type Member struct {
	ID      string // of its peer; unique and stable
	RTT     time.Duration
	Local   bool // it is on this machine and reached without a network
	Suspect bool // others hold it for dead
	// Draining: it takes no new calls.
	Draining bool
	// At is what is needed to reach it; the Set only keeps it.
	At any
}

// A Set is what one client may call of one cell. Its methods may be called by any number of goroutines.
type Set struct {
	salt uint64
	kept atomic.Pointer[[]*Instance]

	mu      sync.Mutex
	known   map[string]*Instance // with the past of some that are gone
	version uint64
}

// New returns an empty Set. Clients with different salts keep different instances of a large cell.
func New(salt uint64) *Set {
	s := &Set{salt: salt, known: map[string]*Instance{}}
	s.kept.Store(new([]*Instance))
	return s
}

// Kept returns the instances that calls may go to, those first that calls would go to if all were idle. The list is not to
// be changed.
func (s *Set) Kept() []*Instance { return *s.kept.Load() }

// Version returns what is kept, and a number that grows with each change of which instances that are.
func (s *Set) Version() (kept []*Instance, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Kept(), s.version
}

// Update takes the instances that are live now, and keeps 16 of them. One that is kept stays so until another is nearer by a
// quarter.
func (s *Set) Update(list []Member, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Kept()
	was := make(map[string]bool, len(old))
	for _, i := range old {
		was[i.ID] = true
	}
	members := s.narrow(list, was)
	kept := make([]*Instance, 0, len(members))
	for _, m := range members {
		kept = append(kept, s.instance(m, was[m.ID], old, now))
	}
	others := len(old) != len(kept)
	for _, i := range old {
		if !slices.Contains(kept, i) {
			i.retire() // whoever still holds the old list
			others = true
		}
	}
	s.forget(kept)
	s.kept.Store(&kept)
	if others {
		s.version++
	}
}

// instance returns the Instance of a member. A newcomer is taken to serve a call as fast as the quickest of its siblings:
// that nobody has called it makes it no faster, and all would rush there.
func (s *Set) instance(m Member, known bool, siblings []*Instance, now time.Time) *Instance {
	i := s.known[m.ID]
	if i == nil {
		i = &Instance{ID: m.ID, set: s}
		s.known[m.ID] = i
	}
	i.update(m)
	if known {
		return i
	}
	for k := range i.estimates {
		if least, ok := leastExcess(siblings, Kind(k), now); ok {
			i.estimates[k].raise(least, now)
		}
	}
	return i
}

// forget drops the past of instances that are not kept when too much of it has gathered.
func (s *Set) forget(kept []*Instance) {
	if len(s.known) <= maxRemembered {
		return
	}
	clear(s.known)
	for _, i := range kept {
		s.known[i.ID] = i
	}
}

// narrow returns the members to keep, in the order of Kept.
func (s *Set) narrow(list []Member, was map[string]bool) []Member {
	list = slices.DeleteFunc(slices.Clone(list), func(m Member) bool { return m.Draining })
	if len(list) > MaxKept {
		slices.SortFunc(list, func(a, b Member) int {
			return cmp.Or(compareBool(a.Suspect, b.Suspect), cmp.Compare(rendezvous(s.salt, a.ID), rendezvous(s.salt, b.ID)))
		})
		favoured := func(m Member) time.Duration {
			if was[m.ID] {
				return m.RTT * 3 / 4
			}
			return m.RTT
		}
		sortByDistance(list[maxSpread:], favoured)
		list = list[:MaxKept]
	}
	sortByDistance(list, func(m Member) time.Duration { return m.RTT })
	return list
}

func sortByDistance(list []Member, distance func(Member) time.Duration) {
	slices.SortFunc(list, func(a, b Member) int {
		return cmp.Or(
			compareBool(a.Suspect, b.Suspect), compareBool(b.Local, a.Local), cmp.Compare(distance(a), distance(b)), cmp.Compare(a.ID, b.ID),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// rendezvous is the weight of an instance for one client: FNV-1a, and the finalizer of MurmurHash3 for its weak upper bits.
func rendezvous(salt uint64, id string) uint64 {
	h := 14695981039346656037 ^ salt
	for n := range len(id) {
		h = (h ^ uint64(id[n])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
