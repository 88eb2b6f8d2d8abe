package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/cellnode/cellnode/internal/daemon"
)

// nat says what stands between this machine and the Internet, as far as that can be known: from the addresses of the
// interfaces, and from how others see a running node.
func nat(_ context.Context, m *machine) []Finding {
	var own []string
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []Finding{finding(Unknown, "the addresses of this machine cannot be read: "+oneLine(err), "")}
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && isGlobal(p.Addr()) {
			own = append(own, p.Addr().String())
		}
	}
	var list []Finding
	for _, s := range m.Nodes {
		if f, known := natOf(s, m.udpPorts()[0]); known {
			list = append(list, f)
		}
	}
	switch {
	case len(own) > 0:
		list = append(list, finding(OK, "this machine itself has the public address "+strings.Join(own, ", ")+": no NAT there", ""))
	case len(list) == 0:
		list = append(list, finding(Unknown, "every address of this machine is private, so there is a NAT before the Internet, if there is an Internet; its kind is known when a node runs and a few others have seen it",
			fmt.Sprintf("forward UDP %d to this machine in the router, or leave port_mapping = true to let the node ask for that", m.udpPorts()[0])))
	}
	return list
}

// natOf is what a node has learned of its NAT.
func natOf(s daemon.Status, port int) (f Finding, known bool) {
	switch s.NAT.UDP {
	case daemon.NATIndependent:
		return finding(OK, "node "+s.Peer+" is behind a NAT that keeps one outer port for all destinations: others can be met through it by hole punching", ""), true
	case daemon.NATDependent:
		return finding(Warning, "node "+s.Peer+" is behind a NAT that takes another outer port for each destination (symmetric): holes cannot be punched through it",
			fmt.Sprintf("forward UDP %d to this machine in the router, and write that address under advertise in config.toml", port)), true
	}
	return Finding{}, false
}

func isGlobal(ip netip.Addr) bool {
	a, err := manet.FromIP(ip.AsSlice())
	return err == nil && manet.IsPublicAddr(a)
}

func publicAddr(text string) bool {
	a, err := ma.NewMultiaddr(text)
	return err == nil && manet.IsPublicAddr(a)
}
