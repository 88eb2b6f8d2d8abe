package link

import (
	"fmt"
	"net"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
)

// Ranges of the IANA special-purpose registries (RFC 6890 and its updates) that are never dialled, whoever names
// them. Addresses that carry an IPv4 address inside an IPv6 one are among them: whoever serves a cell has no need
// to name them, and they would lead past the checks of the inner address.
var neverRanges = prefixes(
	"0.0.0.0/8",          // this network
	"169.254.0.0/16",     // link-local, with the metadata services of most clouds
	"192.0.0.0/24",       // IETF protocol assignments; 192.0.0.192 is Oracle's metadata service
	"192.88.99.0/24",     // 6to4 relays
	"224.0.0.0/4",        // multicast
	"240.0.0.0/4",        // reserved, and broadcast
	"168.63.129.16/32",   // Azure's platform service
	"100.100.100.200/32", // Alibaba's metadata service
	"::/128",             // unspecified
	"::/96",              // IPv4-compatible (less ::1, which is loopback)
	"::ffff:0:0/96",      // IPv4-mapped
	"::ffff:0:0:0/96",    // IPv4-translated
	"64:ff9b::/96",       // NAT64
	"64:ff9b:1::/48",     // local NAT64
	"100::/64",           // discard
	"2001::/23",          // IETF protocol assignments: Teredo, benchmarking, ORCHID
	"2002::/16",          // 6to4
	"5f00::/16",          // segment routing
	"fe80::/10",          // link-local
	"fec0::/10",          // site-local
	"fd00:ec2::254/128",  // Amazon's metadata service
	"fd20:ce::254/128",   // Google's metadata service
	"ff00::/8",           // multicast
)

// Ranges that mean something else in every network: dialled only where our own interfaces or files name them.
var localRanges = prefixes(
	"127.0.0.0/8", "::1/128", // loopback
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", // private
	"100.64.0.0/10",                                                                   // carrier NAT, also overlay networks
	"198.18.0.0/15",                                                                   // benchmarking
	"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20", // documentation
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(ip netip.Addr, list []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range list {
		if p.Contains(ip) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Dialable says whether an address may be dialled, so that nobody can turn us against a third party by naming it.
// It returns nil for public addresses; for private and loopback ones if they lie in one of local, the prefixes of
// our own interfaces (LocalPrefixes), or trusted says that the address comes from our own files or LAN; and
// an error that wraps ErrNotDialable for everything else, above all link-local, multicast, broadcast and metadata
// addresses in any disguise. For a peer behind a relay it is the relay's address that is judged. A DNS name is dialable only if trusted: others must be judged by what they resolve to.
func Dialable(addr ma.Multiaddr, local []netip.Prefix, trusted bool) error {
	e, err := parseAddr(addr, "")
	switch {
	case err != nil:
		return err
	case e.name == "":
		return dialableIP(e.ip, local, trusted)
	case trusted:
		return nil
	}
	return fmt.Errorf("%w: %w", ErrNotDialable, errName)
}

func dialableIP(ip netip.Addr, local []netip.Prefix, trusted bool) error {
	if ip.Zone() != "" || !ip.IsValid() {
		return fmt.Errorf("%w: %s", ErrNotDialable, ip)
	}
	if p, ok := within(ip, neverRanges); ok && ip != netip.IPv6Loopback() {
		return fmt.Errorf("%w: %s lies in %s", ErrNotDialable, ip, p)
	}
	if hidesIPv4(ip) {
		return fmt.Errorf("%w: %s hides an IPv4 address", ErrNotDialable, ip)
	}
	p, special := within(ip, localRanges)
	if !special || trusted {
		return nil
	}
	if _, ok := within(ip, local); ok {
		return nil
	}
	return fmt.Errorf("%w: %s lies in %s and in no network of this machine", ErrNotDialable, ip, p)
}

// hidesIPv4 reports an ISATAP interface identifier, ::0:5efe:a.b.c.d or ::200:5efe:a.b.c.d under any prefix (RFC
// 5214 section 6.1).
func hidesIPv4(ip netip.Addr) bool {
	b := ip.As16()
	return ip.Is6() && b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// LocalPrefixes returns the prefixes of this machine's interfaces, loopback among them. Prefixes of
// whole continents, shorter than /8 (IPv4) or /32 (IPv6), are left out: no LAN has them.
func LocalPrefixes() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is4() && p.Bits() < 8 || p.Addr().Is6() && p.Bits() < 32 {
			continue
		}
		list = append(list, p.Masked())
	}
	return list
}
