package dht

import (
	"slices"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	prefix         = "/cell"
	version        = "/kad/1.0.0" // kad-dht appends it to the prefix
	bucketSize     = 20           // k of the Kademlia paper, and of every libp2p DHT
	leanBucketSize = 8

	// validity is the life of a provider record at its holder. Three announcements fall into it, so that two may fail.
	// kad-dht's own default is 48 hours.
	validity = 15 * time.Minute
	cleanup  = 5 * time.Minute

	// lookupTimeout bounds one iterative look-up. A dead peer among the closest burns a dial of 5 s in kad-dht's
	// follow-up; a peer that takes queries and never answers would burn 20 s.
	lookupTimeout = 8 * time.Second

	tableMaxPerBucket = 2 // of one IP network (/16 of IPv4, AS of IPv6), as dual.New sets it
	tableMax          = 3
)

func options(c Config) []kad.Option {
	mode := kad.ModeClient
	if c.Server {
		mode = kad.ModeServer
	}
	opts := []kad.Option{
		kad.Mode(mode),
		kad.BucketSize(c.bucket),
		kad.BootstrapPeersFunc(c.Bootstrap),
		kad.AddressFilter(addressFilter(c.Public)),
		kad.ProviderManagerOpts(
			records.ProvideValidity(validity), records.ProviderAddrTTL(validity), records.CleanupInterval(cleanup)),
	}
	if !c.Amino {
		opts = append(opts, kad.ProtocolPrefix(prefix), kad.DisableValues())
	}
	if !c.Amino || !c.Server { // keepTable does it; nobody looks for a client, so it need not know all about itself
		opts = append(opts, kad.DisableAutoRefresh())
	}
	if c.Public {
		opts = append(opts,
			kad.QueryFilter(kad.PublicQueryFilter),
			kad.RoutingTableFilter(kad.PublicRoutingTableFilter),
			kad.RoutingTablePeerDiversityFilter(kad.NewRTPeerDiversityFilter(c.Host, tableMaxPerBucket, tableMax)))
	}
	return opts
}

func protocolOf(c Config) protocol.ID {
	if c.Amino {
		return kad.DefaultPrefix + version
	}
	return prefix + version
}

func withAmino(own func() []peer.AddrInfo) func() []peer.AddrInfo {
	return func() []peer.AddrInfo { return append(slices.Clone(own()), kad.GetDefaultBootstrapPeerAddrInfos()...) }
}
