package overlay

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"

	"github.com/cellnode/cellnode/internal/link"
)

// Limits for one address and one network. libp2p's own keep 8 connections and one new one in five seconds per IPv4
// address, in both directions: an office, a cluster or a carrier's NAT behind one address would stop at eight
// nodes. These allow a few hundred there and still bound what a single address can cost.
const (
	connsPerIP4    = 512
	connsPerNet4   = 2048 // a /24
	connsPerNet6   = 512  // a /64
	connsPerSite6  = 2048 // a /48
	newConnsPerSec = 50   // per address
	newConnsBurst  = 512
)

// callStreams is how many streams of calls one peer may have here, as many as QUIC takes on a connection of libp2p's. Its own
// limit for a protocol would be a quarter of that.
const callStreams = 256

// resources returns the node's resource manager: libp2p's scaled limits, with limits per address that let many
// nodes live behind one.
func resources() (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	limits.AddProtocolPeerLimit(link.Protocol, rcmgr.BaseLimit{
		StreamsInbound: callStreams, StreamsOutbound: callStreams, Streams: 2 * callStreams, Memory: 64 << 20,
	}, rcmgr.BaseLimitIncrease{})
	perSecond := rate.Limit{RPS: newConnsPerSec, Burst: newConnsBurst}
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP4}, {PrefixLength: 24, ConnCount: connsPerNet4}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: connsPerNet6}, {PrefixLength: 48, ConnCount: connsPerSite6}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{
				{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Limit: rate.Limit{}},
				{Prefix: netip.MustParsePrefix("::1/128"), Limit: rate.Limit{}},
			},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: perSecond}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: perSecond}},
			},
		}),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("127.0.0.0/8"), ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("::1/128"), ConnCount: math.MaxInt}},
		),
	)
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return m, nil
}
