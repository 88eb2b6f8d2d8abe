package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

// udp says whether datagrams leave this machine and whether they come in.
func udp(ctx context.Context, m *machine) []Finding {
	if err := loopback(ctx); err != nil {
		return []Finding{finding(Error, fmt.Sprintf("not even this machine's own UDP packets come back: %v", err), "is UDP forbidden here by seccomp, or by rules for lo? `sudo nft list ruleset` shows those")}
	}
	e := m.entry()
	var list []Finding
	switch {
	case e.udp > 0:
		list = append(list, finding(OK, fmt.Sprintf("UDP gets out and back: %d of %d entry points answer over QUIC", e.udp, len(e.asked)), ""))
	case e.tcp > 0:
		list = append(list, finding(Error, fmt.Sprintf("UDP does not get out: %d of %d entry points answer over TCP, and none over UDP", e.tcp, len(e.asked)),
			"let UDP out in this network's firewall; until then clients use TCP, and instances are served from seed lists alone"))
	case m.joined() != nil:
		list = append(list, finding(OK, fmt.Sprintf("UDP gets out and back: node %s has %d peers in the DHT, and those are reached over UDP alone", m.joined().Peer, m.joined().DHT.Peers), ""))
	default:
		list = append(list, finding(Unknown, "no entry point answers, so whether UDP gets out cannot be told", "name an entry point that runs: bootstrap in config.toml"))
	}
	for _, s := range m.Nodes {
		list = append(list, inward(s, m.udpPorts()[0]))
	}
	return list
}

// joined returns a node that has met others.
func (m *machine) joined() *daemon.Status {
	for i, s := range m.Nodes {
		if s.DHT.Peers > 0 {
			return &m.Nodes[i]
		}
	}
	return nil
}

// inward says whether others have reached a node at its public addresses.
func inward(s daemon.Status, port int) Finding {
	open := fmt.Sprintf("sudo ufw allow %d/udp, and forward UDP %d to this machine in the router", port, port)
	public := slices.DeleteFunc(slices.Clone(s.Addrs), func(a string) bool { return !publicAddr(a) || !isUDP(a) })
	confirmed := slices.DeleteFunc(slices.Clone(public), func(a string) bool { return !slices.Contains(s.NAT.Confirmed, a) })
	switch {
	case len(public) == 0:
		return finding(Unknown, "node "+s.Peer+" knows no public UDP address of itself: it is reached from its own network alone", open)
	case len(confirmed) < len(public):
		return finding(Warning, fmt.Sprintf("node %s: nobody has confirmed that %s can be reached from outside", s.Peer, strings.Join(public, " ")), open)
	}
	return finding(OK, fmt.Sprintf("node %s: others have reached it at %s", s.Peer, strings.Join(confirmed, " ")), "")
}

// loopback sends one datagram to itself.
func loopback(ctx context.Context) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		if c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback}); err != nil {
			return err
		}
	}
	defer c.Close()
	deadline := time.Now().Add(time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.WriteTo([]byte("cellnode"), c.LocalAddr()); err != nil {
		return err
	}
	_, _, err = c.ReadFrom(make([]byte, 16))
	return err
}
