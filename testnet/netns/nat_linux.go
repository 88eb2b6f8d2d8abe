package netns

import (
	"errors"
	"fmt"
	"net/netip"
)

// inner is the name of a router's interface on the side of its LAN.
const inner = "lan0"

// A NAT is how a router chooses the port that a flow leaves by.
type NAT string

const (
	// SamePort keeps the port of the host, whatever the destination: endpoint-independent mapping, as RFC 4787 asks for.
	SamePort NAT = "masquerade"
	// AnyPort takes another port for each destination ("symmetric").
	AnyPort NAT = "masquerade fully-random"
)

// BehindNAT makes a host that reaches the wire through router alone, which masquerades it as home routers do: outgoing
// packets leave with the router's address, and only answers to them come in. inside is the host's address and LAN,
// gateway the router's address in it, and outside what is routed there. A router has one host.
func BehindNAT(router *Host, nat NAT, inside netip.Prefix, gateway netip.Addr, outside netip.Prefix) (*Host, error) {
	h, err := newSpace()
	if err != nil {
		return nil, err
	}
	namespace := h.path()
	for _, step := range []struct {
		on   *Host
		argv []string
	}{
		{router, []string{"ip", "link", "add", inner, "type", "veth", "peer", "name", Device, "netns", namespace}},
		{router, []string{"ip", "addr", "add", netip.PrefixFrom(gateway, inside.Bits()).String(), "dev", inner}},
		{router, []string{"ip", "link", "set", inner, "up"}},
		{h, []string{"ip", "addr", "add", inside.String(), "dev", Device}},
		{h, []string{"ip", "link", "set", Device, "up"}},
		{h, []string{"ip", "route", "add", outside.String(), "via", gateway.String()}},
		{router, []string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"}},
		{router, []string{"nft", ruleset(nat)}},
	} {
		if err := step.on.Run(step.argv...); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// ruleset is a home router's: masquerade what goes out, and let in what belongs to a flow that began inside. What comes to the
// router itself is dropped without an answer; were it accepted, it would count as a flow of its own, and take the port away
// from the host that is about to send something there.
func ruleset(nat NAT) string {
	return fmt.Sprintf(`add table ip router
add chain ip router out { type nat hook postrouting priority 100; }
add rule ip router out oifname %q meta l4proto { tcp, udp } %s
add rule ip router out oifname %q masquerade
add chain ip router in { type filter hook forward priority 0; policy accept; }
add rule ip router in iifname %q ct state new drop
add chain ip router self { type filter hook input priority 0; policy accept; }
add rule ip router self iifname %q ct state new drop
`, Device, nat, Device, Device, Device)
}
