package choice

import "time"

// Tried are the instances that one call has been to. The zero value is empty.
type Tried struct {
	list [4]*Instance
	n    int
}

// Add notes an instance; of more than four the first is forgotten.
func (t *Tried) Add(i *Instance) {
	t.list[t.n%len(t.list)] = i
	t.n++
}

// Has reports whether the call has been to the instance.
func (t *Tried) Has(i *Instance) bool {
	for _, old := range t.list[:min(t.n, len(t.list))] {
		if old == i {
			return true
		}
	}
	return false
}

// Len returns how often the call has been made.
func (t *Tried) Len() int { return t.n }

// The ranks of instances: a call goes to a lower one before cost is asked.
const (
	suspect = 1 << iota
	ejected
	wasTried
)

// Best returns the instance of the list that a call of this kind should go to now, one that it has been to only if there is
// no other; nil if the list is empty or tells of none that takes calls. tried may be nil.
func Best(list []*Instance, k Kind, tried *Tried, now time.Time) *Instance {
	var best *Instance
	var bestRank int
	var bestCost float64
	at := now.UnixNano()
	for _, i := range list {
		m := i.at.Load()
		if m.Draining {
			continue
		}
		rank := i.rank(m, tried, at)
		if best != nil && rank > bestRank {
			continue
		}
		cost := i.cost(k, m.Local, at)
		if best == nil || rank < bestRank || cost < bestCost {
			best, bestRank, bestCost = i, rank, cost
		}
	}
	return best
}

func (i *Instance) rank(m *Member, tried *Tried, now int64) (rank int) {
	if m.Suspect {
		rank |= suspect
	}
	if i.ejection.holds(now) {
		rank |= ejected
	}
	if tried != nil && tried.Has(i) {
		rank |= wasTried
	}
	return rank
}
