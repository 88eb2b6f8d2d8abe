package netns

import "net/netip"

// packet is what the Switch looks at of an IP packet.
type packet struct {
	from, to netip.Addr
	protocol byte
}

// The fixed headers of RFC 791 section 3.1 and RFC 8200 section 3.
const (
	header4 = 20
	header6 = 40
)

// parse reads the header of an IPv4 or IPv6 packet. Of IPv6 it takes the first next header for the protocol: nothing here
// sends extension headers before TCP or UDP.
func parse(data []byte) (p packet, ok bool) {
	if len(data) == 0 {
		return p, false
	}
	switch version := data[0] >> 4; {
	case version == 4 && len(data) >= header4:
		return packet{netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20])), data[9]}, true
	case version == 6 && len(data) >= header6:
		return packet{netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40])), data[6]}, true
	}
	return p, false
}
