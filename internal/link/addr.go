package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// An endpoint is a multiaddr that cell/1 can dial, taken apart.
type endpoint struct {
	ma   ma.Multiaddr // as it was given
	path string       // TCP, QUIC or LIBP2P
	ip   netip.Addr   // zero for a name; the relay's for LIBP2P
	name string
	port uint16
	v    int // 4 or 6: the only IP version wanted of a name; 0: any
}

// host is what stands before the port: endpoints with the same host are two ways to the same place.
func (e endpoint) host() string {
	switch {
	case e.path == LIBP2P:
		return e.ma.String()
	case e.name != "":
		return e.name
	}
	return e.ip.String()
}

func (e endpoint) addrPort() netip.AddrPort { return netip.AddrPortFrom(e.ip, e.port) }

// parseAddr takes /ip4|ip6|dns|dns4|dns6/…/udp/PORT/quic-v1 and …/tcp/PORT/tls, optionally followed by /p2p/PEER
// for this peer, and …/udp/PORT/quic-v1/p2p/RELAY/p2p-circuit.
func parseAddr(addr ma.Multiaddr, id peer.ID) (endpoint, error) {
	if len(addr) == 5 && addr[4].Protocol().Code == ma.P_CIRCUIT && addr[3].Protocol().Code == ma.P_P2P {
		return parseCircuit(addr)
	}
	e := endpoint{ma: addr}
	if len(addr) == 4 && addr[3].Protocol().Code == ma.P_P2P {
		if id != "" && string(addr[3].RawValue()) != string(id) {
			return e, fmt.Errorf("%w: it names another peer", ErrNotDialable)
		}
	} else if len(addr) != 3 {
		return e, notForm()
	}
	if err := e.setHost(addr[0]); err != nil {
		return e, err
	}
	switch transport, security := addr[1].Protocol().Code, addr[2].Protocol().Code; {
	case transport == ma.P_TCP && security == ma.P_TLS:
		e.path = TCP
	case transport == ma.P_UDP && security == ma.P_QUIC_V1:
		e.path = QUIC
	default:
		return e, notForm()
	}
	port, err := strconv.ParseUint(addr[1].Value(), 10, 16)
	if err != nil || port == 0 {
		return e, fmt.Errorf("%w: port %s", ErrNotDialable, addr[1].Value())
	}
	e.port = uint16(port)
	return e, nil
}

// parseCircuit takes the address of a relay that is dialled by QUIC.
func parseCircuit(addr ma.Multiaddr) (endpoint, error) {
	e, err := parseAddr(addr[:3], "")
	if err == nil && (e.path != QUIC || e.name != "") {
		err = notForm()
	}
	e.ma, e.path = addr, LIBP2P
	return e, err
}

func (e *endpoint) setHost(c ma.Component) error {
	switch c.Protocol().Code {
	case ma.P_IP4, ma.P_IP6:
		ip, ok := netip.AddrFromSlice(c.RawValue())
		if !ok {
			return notForm()
		}
		e.ip = ip
	case ma.P_DNS:
		e.name = c.Value()
	case ma.P_DNS4:
		e.name, e.v = c.Value(), 4
	case ma.P_DNS6:
		e.name, e.v = c.Value(), 6
	default:
		return notForm()
	}
	return nil
}

func notForm() error {
	return fmt.Errorf("%w: not /ip4|ip6|dns…/udp/PORT/quic-v1 or …/tcp/PORT/tls", ErrNotDialable)
}

// errName: a name is judged by what it resolves to.
var errName = errors.New("link: a name can only be judged when it is resolved")
