package dht

import (
	"slices"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxAddrs bounds the addresses of one peer that are kept, served, announced or reported. A record may carry 8 KiB of
// them, and each that is dialled sends some 10 packets to whoever lives there.
const maxAddrs = 8

// How far an address can be reached from.
const (
	fromAnywhere = iota // public addresses and names
	fromNetwork         // private ranges
	fromMachine         // loopback
	fromNowhere         // unspecified, link-local, multicast
)

func reach(a ma.Multiaddr) int {
	ip, err := manet.ToIP(a)
	switch {
	case err == nil && (ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast()):
		return fromNowhere
	case err == nil && ip.IsLoopback():
		return fromMachine
	case manet.IsPublicAddr(a):
		return fromAnywhere
	default:
		return fromNetwork
	}
}

// addressFilter puts the addresses that reach furthest first and keeps maxAddrs of them. A loopback address is kept only
// where there is no other: elsewhere it names the machine of whoever dials it. public leaves out those that are not of
// the public internet.
func addressFilter(public bool) func([]ma.Multiaddr) []ma.Multiaddr {
	limit := fromMachine
	if public {
		limit = fromAnywhere
	}
	return func(addrs []ma.Multiaddr) []ma.Multiaddr {
		kept := make([]ma.Multiaddr, 0, len(addrs))
		for _, a := range addrs {
			if a != nil && reach(a) <= limit {
				kept = append(kept, a)
			}
		}
		slices.SortStableFunc(kept, func(a, b ma.Multiaddr) int { return reach(a) - reach(b) })
		if len(kept) > 0 && reach(kept[0]) < fromMachine {
			kept = slices.DeleteFunc(kept, func(a ma.Multiaddr) bool { return reach(a) == fromMachine })
		}
		return kept[:min(len(kept), maxAddrs)]
	}
}
