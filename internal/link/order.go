package link

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

// Head starts. RFC 8305 (happy eyeballs) recommends 250 ms between addresses, and no less than 100.
const (
	hostDelay = 150 * time.Millisecond // of one host over the next, and of the path that worked last over the other
	pairDelay = 40 * time.Millisecond  // of TCP over QUIC on the same host, when TCP is not known to work
	maxAddrs  = 16
)

// An entrant is an address in a race, with its delay behind the one before it.
type entrant struct {
	endpoint
	after time.Duration
}

// entrants returns the addresses of a target that may be dialled, in the order in which they start, and why the
// others may not.
func (d *Dialer) entrants(t Target) (list []entrant, refused []Attempt) {
	local := d.cfg.Local()
	var ends []endpoint
	for _, a := range t.Addrs[:min(len(t.Addrs), maxAddrs)] {
		e, err := d.judge(a, t, local)
		if err != nil {
			refused = append(refused, Attempt{Addr: a, Path: e.path, Err: err})
			continue
		}
		if !slices.ContainsFunc(ends, func(o endpoint) bool { return o.path == e.path && o.host() == e.host() && o.port == e.port }) {
			ends = append(ends, e)
		}
	}
	return arrange(ends, d.memory.get(t.Peer), local), refused
}

func (d *Dialer) judge(a ma.Multiaddr, t Target, local []netip.Prefix) (endpoint, error) {
	e, err := parseAddr(a, t.Peer)
	switch {
	case err != nil:
		return e, err
	case e.path == TCP && d.cfg.NoTCP || e.path == QUIC && d.cfg.NoQUIC:
		return e, fmt.Errorf("%w: %s is switched off", ErrNotDialable, e.path)
	case e.name != "":
		return e, nil // judged when it is resolved
	}
	return e, dialableIP(e.ip, local, t.Trusted)
}

// arrange orders endpoints: the host that answered last, then near before far as far as addresses tell, and in each
// host TCP before QUIC, unless QUIC is known to answer and TCP is known not to. Relays come last.
func arrange(ends []endpoint, k known, local []netip.Prefix) []entrant {
	answered := k.host != ""
	second := QUIC
	if answered && k.tcp == tcpFails {
		second = TCP
	}
	given := map[string]int{} // hosts, in the order in which they were given
	for _, e := range ends {
		if _, ok := given[e.host()]; !ok {
			given[e.host()] = len(given)
		}
	}
	behind := func(e endpoint) int {
		if e.path == second {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ends, func(a, b endpoint) int {
		return cmp.Or(
			cmp.Compare(distance(a, k, local), distance(b, k, local)),
			cmp.Compare(given[a.host()], given[b.host()]),
			cmp.Compare(behind(a), behind(b)),
		)
	})
	list := make([]entrant, len(ends))
	for i, e := range ends {
		list[i] = entrant{endpoint: e, after: hostDelay}
		if i > 0 && k.tcp == tcpUntried && ends[i-1].host() == e.host() {
			list[i].after = pairDelay
		}
	}
	return list
}

// distance guesses how far an endpoint is; the one that answered last counts as nearest.
func distance(e endpoint, k known, local []netip.Prefix) int {
	_, own := within(e.ip, local)
	switch {
	case k.host != "" && e.host() == k.host:
		return 0
	case e.path == LIBP2P:
		return 4
	case e.ip.IsLoopback():
		return 1
	case own:
		return 2
	}
	return 3
}
