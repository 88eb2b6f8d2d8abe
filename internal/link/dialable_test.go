package link

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

var testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestDialable(t *testing.T) {
	local := prefixes("127.0.0.0/8", "::1/128", "192.168.7.0/24", "fd12:3456::/64", "100.64.0.0/16", "169.254.0.0/16")
	const no, own, trusted, yes = 0, 1, 2, 3 // never; if local; if trusted; always
	for _, tt := range []struct {
		addr string
		want int
	}{
		{"/ip4/8.8.8.8/udp/40000/quic-v1", yes},
		{"/ip4/8.8.8.8/tcp/40000/tls", yes},
		{"/ip6/2600::1/tcp/40000/tls", yes},
		{"/ip4/172.32.0.1/tcp/1/tls", yes},
		{"/ip4/100.128.0.1/tcp/1/tls", yes},
		{"/ip4/8.8.8.8/udp/40000/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", yes},
		// a relay, by its own address
		{"/ip4/8.8.8.8/udp/40000/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", yes},
		{"/ip4/192.168.8.9/udp/40000/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", trusted},
		{"/ip4/169.254.169.254/udp/80/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", no},
		// private and loopback: in an own prefix, or trusted
		{"/ip4/127.0.0.1/tcp/1/tls", own},
		{"/ip6/::1/tcp/1/tls", own},
		{"/ip4/192.168.7.9/tcp/1/tls", own},
		{"/ip6/fd12:3456::9/tcp/1/tls", own},
		{"/ip4/100.64.3.3/udp/1/quic-v1", own},
		{"/ip4/192.168.8.9/tcp/1/tls", trusted},
		{"/ip4/10.0.0.1/tcp/1/tls", trusted},
		{"/ip4/172.16.0.1/tcp/1/tls", trusted},
		{"/ip4/172.31.255.255/tcp/1/tls", trusted},
		{"/ip6/fd12:3456:0:1::9/tcp/1/tls", trusted},
		{"/ip6/fc00::1/tcp/1/tls", trusted},
		{"/ip4/100.65.0.1/tcp/1/tls", trusted},
		{"/ip4/198.18.0.1/tcp/1/tls", trusted},
		{"/ip4/192.0.2.1/tcp/1/tls", trusted},
		{"/ip6/2001:db8::1/tcp/1/tls", trusted},
		{"/dns4/instance.example.com/tcp/1/tls", trusted},
		{"/dns/localhost/udp/1/quic-v1", trusted},
		// never, not even in an own prefix
		{"/ip4/0.0.0.0/tcp/1/tls", no},
		{"/ip4/0.1.2.3/tcp/1/tls", no},
		{"/ip4/169.254.169.254/tcp/80/tls", no},
		{"/ip4/169.254.1.1/udp/1/quic-v1", no},
		{"/ip4/224.0.0.251/udp/5353/quic-v1", no},
		{"/ip4/239.255.255.250/udp/1900/quic-v1", no},
		{"/ip4/240.0.0.1/tcp/1/tls", no},
		{"/ip4/255.255.255.255/udp/1/quic-v1", no},
		{"/ip4/192.0.0.192/tcp/80/tls", no},
		{"/ip4/192.88.99.1/tcp/80/tls", no},
		{"/ip4/100.100.100.200/tcp/80/tls", no},
		{"/ip4/168.63.129.16/tcp/80/tls", no},
		{"/ip6/::/tcp/1/tls", no},
		{"/ip6/fe80::1/tcp/1/tls", no},
		{"/ip6zone/eth0/ip6/fe80::1/tcp/1/tls", no},
		{"/ip6/fec0::1/tcp/1/tls", no},
		{"/ip6/ff02::1/udp/1/quic-v1", no},
		{"/ip6/fd00:ec2::254/tcp/80/tls", no},
		// IPv4 in disguise: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP
		{"/ip6/::ffff:127.0.0.1/tcp/1/tls", no},
		{"/ip6/::ffff:169.254.169.254/tcp/80/tls", no},
		{"/ip6/::ffff:8.8.8.8/tcp/1/tls", no},
		{"/ip6/::127.0.0.1/tcp/1/tls", no},
		{"/ip6/::ffff:0:127.0.0.1/tcp/1/tls", no},
		{"/ip6/64:ff9b::169.254.169.254/tcp/80/tls", no},
		{"/ip6/64:ff9b:1::10.0.0.1/tcp/80/tls", no},
		{"/ip6/2002:7f00:1::1/tcp/1/tls", no},
		{"/ip6/2001:0:7f00:1::1/tcp/1/tls", no},
		{"/ip6/2600::5efe:127.0.0.1/tcp/1/tls", no},
		{"/ip6/2600::200:5efe:169.254.169.254/tcp/1/tls", no},
		{"/ip6/fe80::5efe:127.0.0.1/tcp/1/tls", no},
		// forms that cell/1 does not dial
		{"/ip4/8.8.8.8/tcp/0/tls", no},
		{"/ip4/8.8.8.8/tcp/40000", no},
		{"/ip4/8.8.8.8/udp/40000", no},
		{"/ip4/8.8.8.8/udp/40000/quic-v1/webtransport", no},
		{"/ip4/8.8.8.8/tcp/40000/tls/ws", no},
		{"/ip4/8.8.8.8/tcp/40000/tls/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", no},
		{"/ip4/8.8.8.8/udp/40000/quic-v1/p2p-circuit", no},
		{"/dns4/relay.example.com/udp/40000/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", no},
		{"/unix/run/x.sock", no},
	} {
		addr := ma.StringCast(tt.addr)
		for _, c := range []struct {
			local   []netip.Prefix
			trusted bool
			want    bool
		}{
			{nil, false, tt.want == yes},
			{local, false, tt.want == yes || tt.want == own},
			{local, true, tt.want != no},
			{nil, true, tt.want != no},
		} {
			err := Dialable(addr, c.local, c.trusted)
			if (err == nil) != c.want || err != nil && !errors.Is(err, ErrNotDialable) {
				t.Errorf("%s, own interfaces %v, trusted %v: %v", tt.addr, c.local != nil, c.trusted, err)
			}
		}
	}
}

func TestLocalPrefixesContainLoopback(t *testing.T) {
	if _, ok := within(netip.MustParseAddr("127.0.0.1"), LocalPrefixes()); !ok {
		t.Errorf("got %v", LocalPrefixes())
	}
}

func TestNameIsJudgedByWhatItResolvesTo(t *testing.T) {
	i := serve(t, &handler{})
	port, _ := i.tcp.ValueForProtocol(ma.P_TCP)
	to := i.target(ma.StringCast("/dns4/instance.example.com/tcp/" + port + "/tls"))
	for _, tt := range []struct {
		ips  []string
		want bool
	}{
		{[]string{"127.0.0.1"}, true},
		{[]string{"::ffff:127.0.0.1"}, true}, // how the resolver may hand out IPv4
		{[]string{"169.254.169.254", "127.0.0.1"}, true},
		{[]string{"169.254.169.254"}, false},
		{[]string{"10.0.0.1"}, false},
		{nil, false},
	} {
		d := newDialer(t, func(c *DialerConfig) {
			c.Local = func() []netip.Prefix { return prefixes("127.0.0.0/8") }
			c.Resolve = func(_ context.Context, network, name string) (ips []netip.Addr, err error) {
				if network != "ip4" || name != "instance.example.com" {
					t.Errorf("looked up %s %s", network, name)
				}
				for _, s := range tt.ips {
					ips = append(ips, netip.MustParseAddr(s))
				}
				return ips, nil
			}
		})
		_, err := d.Probe(t.Context(), to, hello)
		if (err == nil) != tt.want {
			t.Errorf("%v: %v", tt.ips, err)
		}
	}
}
