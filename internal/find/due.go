package find

import (
	"slices"
	"time"
)

// doubt makes a probe due at once whose failure alone prunes: somebody has already watched it fail.
func (e *entry) doubt(now time.Time) {
	e.failures = max(e.failures, 1)
	if e.probing {
		e.again = true
		return
	}
	e.due = now
}

// due returns the candidates to probe now, at most n of them and the known ones first, and marks them as asked.
func (t *table) due(now time.Time, n int, followed bool) []*entry {
	var list []*entry
	for _, e := range t.entries {
		if e.probing || e.self || e.socket != "" || len(e.addrs) == 0 {
			continue
		}
		if !followed && e.live && !e.far && e.due.After(now.Add(lonelyProbe)) {
			e.due = now.Add(lonelyProbe)
		}
		if !e.due.After(now) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		switch {
		case a.known() == b.known():
			return a.due.Compare(b.due)
		case a.known():
			return -1
		default:
			return 1
		}
	})
	list = list[:min(n, len(list))]
	for _, e := range list {
		e.probing = true
	}
	return list
}

// known reports whether it has been live.
func (e *entry) known() bool { return !e.since.IsZero() }

// next returns when the next probe is due; zero means never.
func (t *table) next() (at time.Time) {
	for _, e := range t.entries {
		if e.probing || e.self || e.socket != "" || len(e.addrs) == 0 {
			continue
		}
		if at.IsZero() || e.due.Before(at) {
			at = e.due
		}
	}
	return at
}

// pending reports whether a candidate has not answered its first probe yet, or one that has failed a call the probe after that.
func (t *table) pending() bool {
	for _, e := range t.entries {
		if !e.live && (e.doubted || e.err == nil && len(e.addrs) > 0 && !e.self && e.socket == "") {
			return true
		}
	}
	return false
}
