package netns

import (
	"errors"
	"fmt"
	"net/netip"
)

// inner is the name of a router's interface on the side of its LAN.
const inner = "lan0"

// BehindNAT makes a host that reaches the wire through router alone, which masquerades it as home routers do: outgoing
// packets leave with the router's address, and only answers to them come in. inside is the host's address and LAN,
// gateway the router's address in it, and outside what is routed there. A router has one host.
func BehindNAT(router *Host, inside netip.Prefix, gateway netip.Addr, outside netip.Prefix) (*Host, error) {
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
		{router, []string{"nft", ruleset()}},
	} {
		if err := step.on.Run(step.argv...); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// ruleset is a home router's: masquerade what goes out, and let in what belongs to a flow that began inside.
func ruleset() string {
	return fmt.Sprintf(`add table ip router
add chain ip router out { type nat hook postrouting priority 100; }
add rule ip router out oifname %q masquerade
add chain ip router in { type filter hook forward priority 0; policy accept; }
add rule ip router in iifname %q ct state new drop
`, Device, Device)
}
