package link

import (
	"net"
	"net/netip"
	"sync"
)

// A quota bounds how many of something there are, in all and for each remote host. Loopback counts only in all.
type quota struct {
	max, maxPerIP  int
	full, fullHost string // what take says, one for each

	mu    sync.Mutex
	total int
	perIP map[netip.Addr]int
}

// take takes a place, or says why there is none.
func (q *quota) take(ip netip.Addr) (reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.total >= q.max:
		return q.full
	case !ip.IsLoopback() && q.perIP[ip] >= q.maxPerIP:
		return q.fullHost
	}
	if q.perIP == nil {
		q.perIP = map[netip.Addr]int{}
	}
	q.total++
	q.perIP[ip]++
	return ""
}

func (q *quota) give(ip netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.perIP[ip]--; q.perIP[ip] <= 0 {
		delete(q.perIP, ip)
	}
}

func (q *quota) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// hostOf returns whom the limits per host hold against: an IPv4 address, or the /56 that one IPv6 customer has.
func hostOf(a net.Addr) netip.Addr {
	var ip netip.Addr
	switch a := a.(type) {
	case *net.TCPAddr:
		ip = a.AddrPort().Addr()
	case *net.UDPAddr:
		ip = a.AddrPort().Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		p, _ := ip.Prefix(56)
		ip = p.Addr()
	}
	return ip
}
