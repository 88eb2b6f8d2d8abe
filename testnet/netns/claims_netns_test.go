//go:build linux && netns

package netns

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// holds looks again and again until the time is over: each of watchers lists exactly these members all the while.
func holds(l *lab, span time.Duration, watchers, want []member) {
	l.t.Helper()
	peers := peersOf(want)
	end := time.Now().Add(span)
	l.await(span+time.Second, "the time is over", func() bool {
		for _, m := range watchers {
			if got := l.list(m); !slices.Equal(got, peers) {
				l.t.Errorf("node %d lists %v, want %v", m.Index, got, peers)
				return true
			}
		}
		return time.Now().After(end)
	}, func() string { return "" })
}

// within reports whether one of the multiaddrs is of this IP address.
func within(addrs []string, ip netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(a string) bool { return strings.Contains(a, "/"+ip.String()+"/") })
}

func join(list []string) string { return strings.Join(list, " ") }
