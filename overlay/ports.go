package overlay

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"syscall"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxPortTries is how many ports above a taken one are tried.
const maxPortTries = 100

// A listen is one address to listen on.
type listen struct {
	udp  bool // QUIC on UDP; else TLS on TCP
	addr netip.AddrPort
}

func parseListen(a ma.Multiaddr) (listen, error) {
	bad := fmt.Errorf("overlay: listen address %s is not /ip4|ip6/ADDR/udp/PORT/quic-v1 or /ip4|ip6/ADDR/tcp/PORT/tls", a)
	if len(a) != 3 {
		return listen{}, bad
	}
	netAddr, err := manet.ToNetAddr(a[:2])
	if err != nil {
		return listen{}, bad
	}
	switch at := netAddr.(type) {
	case *net.UDPAddr:
		if a[2].Protocol().Code == ma.P_QUIC_V1 {
			return listen{true, unmapped(at.AddrPort())}, nil
		}
	case *net.TCPAddr:
		if a[2].Protocol().Code == ma.P_TLS {
			return listen{false, unmapped(at.AddrPort())}, nil
		}
	}
	return listen{}, bad
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (l listen) network() string {
	network := "tcp"
	if l.udp {
		network = "udp"
	}
	if l.addr.Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

func (l listen) multiaddr() ma.Multiaddr {
	ip := "ip6"
	if l.addr.Addr().Is4() {
		ip = "ip4"
	}
	if l.udp {
		return ma.StringCast(fmt.Sprintf("/%s/%s/udp/%d/quic-v1", ip, l.addr.Addr(), l.addr.Port()))
	}
	return ma.StringCast(fmt.Sprintf("/%s/%s/tcp/%d/tls", ip, l.addr.Addr(), l.addr.Port()))
}

// sockets are bound before the host is built, so that two nodes on one machine never share a port by accident:
// libp2p sets SO_REUSEPORT, and the second of them would silently take half of the first one's connections.
type sockets struct {
	mu    sync.Mutex // guards udp, from which libp2p takes in several goroutines
	udp   map[netip.AddrPort]net.PacketConn
	tcp   []net.Listener
	bound []listen
	notes []string // ports that were taken, families that are missing
}

type listenPacket func(network string, laddr *net.UDPAddr) (net.PacketConn, error)

// bind opens every address, those of one port as a group.
func bind(addrs []ma.Multiaddr, packet listenPacket) (*sockets, error) {
	groups := map[uint16][]listen{}
	var ports []uint16
	for _, a := range addrs {
		l, err := parseListen(a)
		if err != nil {
			return nil, err
		}
		port := l.addr.Port()
		if groups[port] == nil {
			ports = append(ports, port)
		}
		groups[port] = append(groups[port], l)
	}
	s := &sockets{udp: map[netip.AddrPort]net.PacketConn{}}
	for _, port := range ports {
		if err := s.bindGroup(groups[port], port, packet); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *sockets) bindGroup(group []listen, port uint16, packet listenPacket) error {
	tries := min(maxPortTries, math.MaxUint16-int(port)+1)
	for try := range tries {
		at := port
		if port != 0 {
			at += uint16(try)
		}
		part := &sockets{udp: map[netip.AddrPort]net.PacketConn{}}
		err := part.bindAll(group, at, packet)
		if err == nil {
			if at != port && port != 0 {
				part.notes = append(part.notes, fmt.Sprintf("port %d is taken; listening on %d instead", port, at))
			}
			s.add(part)
			return nil
		}
		part.close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("overlay: %w: set listen in config.toml (or CELL_LISTEN)", err)
		}
	}
	return fmt.Errorf("overlay: ports %d to %d are all taken: set listen in config.toml", port, int(port)+tries-1)
}

// bindAll opens the whole group on one port. A missing address family is noted and left out, as long as another
// one can be had.
func (s *sockets) bindAll(group []listen, port uint16, packet listenPacket) error {
	var missing error
	for _, l := range group {
		l.addr = netip.AddrPortFrom(l.addr.Addr(), port)
		got, err := s.open(l, packet)
		switch {
		case familyMissing(err) && l.addr.Addr().IsUnspecified():
			missing = err
			s.notes = append(s.notes, fmt.Sprintf("%s cannot be used here: %v", l.multiaddr(), err))
		case err != nil:
			return err
		default:
			port = got // port 0: the others of the group follow the first
		}
	}
	if len(s.bound) == 0 {
		return missing
	}
	return nil
}

func (s *sockets) open(l listen, packet listenPacket) (port uint16, err error) {
	if l.udp {
		c, err := packet(l.network(), net.UDPAddrFromAddrPort(l.addr))
		if err != nil {
			return 0, err
		}
		l.addr = netip.AddrPortFrom(l.addr.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		s.udp[l.addr] = c
	} else {
		t, err := net.ListenTCP(l.network(), net.TCPAddrFromAddrPort(l.addr))
		if err != nil {
			return 0, err
		}
		l.addr = netip.AddrPortFrom(l.addr.Addr(), t.Addr().(*net.TCPAddr).AddrPort().Port())
		s.tcp = append(s.tcp, t)
	}
	s.bound = append(s.bound, l)
	return l.addr.Port(), nil
}

func familyMissing(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (s *sockets) add(part *sockets) {
	for at, c := range part.udp {
		s.udp[at] = c
	}
	s.tcp = append(s.tcp, part.tcp...)
	s.bound = append(s.bound, part.bound...)
	s.notes = append(s.notes, part.notes...)
}

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.udp {
		c.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
}

// take hands the socket bound at laddr to libp2p's QUIC, once.
func (s *sockets) take(laddr *net.UDPAddr) net.PacketConn {
	at := unmapped(laddr.AddrPort())
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.udp[at]
	delete(s.udp, at)
	return c
}
