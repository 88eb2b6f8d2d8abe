package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// ports says whether a node has, or would get, the ports that the settings name.
func ports(_ context.Context, m *machine) []Finding {
	if len(m.Nodes) > 0 {
		return heldPorts(m)
	}
	var list []Finding
	for _, text := range m.Config.Config.Listen {
		if f, ok := tryPort(text); ok {
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		list = append(list, finding(Unknown, "no addresses to listen on could be read from the settings", ""))
	}
	return list
}

// heldPorts compares what the nodes are bound to with what the settings ask for. Several nodes on one machine cannot all
// have the port that is written; whether this one has it is in the node's own notes.
func heldPorts(m *machine) []Finding {
	var list []Finding
	for _, s := range m.Nodes {
		switch {
		case len(s.Listen) == 0:
			list = append(list, finding(Warning, "node "+s.Peer+" listens nowhere: it can look, and cannot serve", "set listen in config.toml"))
		case !slices.ContainsFunc(s.Listen, isUDP):
			list = append(list, finding(Warning, "node "+s.Peer+" has no UDP port: only seed lists lead to it", "add /ip4/0.0.0.0/udp/40000/quic-v1 to listen in config.toml"))
		default:
			list = append(list, finding(OK, "node "+s.Peer+" listens on "+strings.Join(s.Listen, " "), ""))
		}
	}
	return list
}

func isUDP(addr string) bool { return strings.Contains(addr, "/udp/") }

// tryPort binds one address and gives it back.
func tryPort(text string) (Finding, bool) {
	a, err := ma.NewMultiaddr(text)
	if err != nil || len(a) < 2 {
		return Finding{}, false
	}
	at, err := manet.ToNetAddr(a[:2])
	if err != nil {
		return Finding{}, false
	}
	switch at := at.(type) {
	case *net.UDPAddr:
		conn, err := net.ListenUDP(family("udp", at.IP), at)
		if err == nil {
			err = conn.Close()
		}
		return portFinding("UDP", text, at.Port, err), true
	case *net.TCPAddr:
		l, err := net.ListenTCP(family("tcp", at.IP), at)
		if err == nil {
			err = l.Close()
		}
		return portFinding("TCP", text, at.Port, err), true
	}
	return Finding{}, false
}

func family(network string, ip net.IP) string {
	if ip.To4() != nil {
		return network + "4"
	}
	return network + "6"
}

func portFinding(network, text string, port int, err error) Finding {
	option := map[string]string{"UDP": "u", "TCP": "t"}[network]
	switch {
	case err == nil:
		return finding(OK, fmt.Sprintf("%s port %d is free (%s)", network, port, text), "")
	case errors.Is(err, syscall.EADDRINUSE):
		return finding(Warning, fmt.Sprintf("%s port %d is taken by another program (%s): a node would take the next free one", network, port, text),
			fmt.Sprintf("see who has it with `ss -l%snp 'sport = :%d'`, or set listen in config.toml", option, port))
	case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
		return finding(Warning, fmt.Sprintf("%s cannot be used here: %v", text, err), "nothing, if this machine is not to have that address; else correct listen in config.toml")
	}
	return finding(Error, fmt.Sprintf("%s cannot be bound: %v", text, err), "set listen in config.toml to an address and port that this user may bind")
}
