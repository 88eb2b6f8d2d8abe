package dht

import (
	"slices"
	"time"

	"github.com/ipfs/go-cid"
)

// Status is what is known about one announced key.
type Status struct {
	Key cid.Cid
	// Announcing: this node announces. False before the first attempt, and while the cell's other members do it.
	Announcing bool
	// Last is the last announcement that reached someone; its At is zero before.
	Last Announced
	// Alone: the last attempt knew no other node.
	Alone bool
	// Due is when the next attempt is made, unless something calls for one sooner. Zero during the first.
	Due time.Time
	// Err is what became of the last attempt; nil if it went well. Failures counts those that did not, in a row.
	Err      error
	Failures int
}

func (st *Status) record(a Announced, err error) {
	st.Announcing, st.Alone, st.Err = true, a.Alone, err
	switch {
	case err != nil:
		st.Failures++
	case a.Alone:
		st.Failures = 0
	default:
		st.Last, st.Failures = a, 0
	}
}

// Status returns how the key is doing.
func (a *Announcer) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Status returns the keys that are being announced, in the order of their CIDs.
func (d *DHT) Status() []Status {
	d.mu.Lock()
	out := make([]Status, 0, len(d.announcers))
	for _, a := range d.announcers {
		out = append(out, a.Status())
	}
	d.mu.Unlock()
	slices.SortFunc(out, func(a, b Status) int { return slices.Compare(a.Key.Bytes(), b.Key.Bytes()) })
	return out
}
