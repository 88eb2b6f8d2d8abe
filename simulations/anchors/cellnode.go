package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// theCell is what all members are instances of. Any CID would do.
var theCell = cid.MustParse("bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm")

// instance is a member of ours: the driver of gossip on a host of its own.
type instance struct {
	host   host.Host
	gossip *gossip.Gossip
	dark   atomic.Bool
	wg     sync.WaitGroup
	watch  error // how the watch ended; read after wg
}

func startCellnode(ctx context.Context, l *lab, _ int) (member, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	i := new(instance)
	if i.host, err = i.newHost(key, &l.wire); err != nil {
		return nil, err
	}
	now := time.Now()
	rec, err := record.Sign(key, record.Instance{
		Cell: theCell, Incarnation: uint64(now.UnixMilli()), Seq: 1, State: record.Serving,
		Addrs: i.host.Addrs(), Issued: now, Expires: now.Add(record.Validity),
	})
	if err == nil {
		i.gossip, err = gossip.New(ctx, gossip.Config{Host: i.host, Cell: theCell, Record: rec, Profile: gossip.LAN()})
	}
	if err != nil {
		return nil, errors.Join(err, i.host.Close())
	}
	l.census.born(i.id())
	i.wg.Go(func() {
		i.watch = i.gossip.Watch(context.Background(), func(events []gossip.Event) { i.tell(l.census, events) })
	})
	return i, nil
}

// newHost builds a host as overlay does for a node on loopback, on a socket that is counted.
func (i *instance) newHost(key crypto.PrivKey, w *wire) (host.Host, error) {
	limits, err := loopbackLimits()
	if err != nil {
		return nil, err
	}
	conns, err := connmgr.NewConnManager(96, 192)
	if err != nil {
		return nil, err
	}
	return libp2p.New(
		libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.ResourceManager(limits), libp2p.ConnectionManager(conns),
		libp2p.WithDialTimeout(5*time.Second), libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(2*time.Second)),
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery(), libp2p.UserAgent("cellnode/anchors"),
		libp2p.QUICReuse(func(life fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			cm, err := quicreuse.NewConnManager(reset, token, opts...)
			if err == nil {
				life.Append(fx.StopHook(cm.Close))
			}
			return cm, err
		}, quicreuse.OverrideListenUDP(func(network string, at *net.UDPAddr) (net.PacketConn, error) {
			c, err := net.ListenUDP(network, at)
			if err != nil {
				return nil, err
			}
			return &socket{c, c, w, &i.dark}, nil
		})),
	)
}

// loopbackLimits are libp2p's scaled limits without those for one address: here all members have the same.
func loopbackLimits() (network.ResourceManager, error) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	limits := rcmgr.DefaultLimits
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithConnRateLimiters(&rate.Limiter{NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: loopback, Limit: rate.Limit{}}}}),
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{{Network: loopback, ConnCount: math.MaxInt}}, nil))
}

func (i *instance) tell(c *census, events []gossip.Event) {
	at := time.Now()
	for _, e := range events {
		about := e.Member.Record.Peer.String()
		switch e.Kind {
		case gossip.Joined:
			c.learn(i.id(), at, listed, about)
		case gossip.Dead, gossip.Left, gossip.Expired, gossip.Revoked:
			c.learn(i.id(), at, unlisted, about)
		case gossip.Suspected:
			c.learn(i.id(), at, suspected, about)
		case gossip.Updated, gossip.Refuted:
		}
	}
}

func (i *instance) id() string { return i.host.ID().String() }

func (i *instance) join(_ context.Context, through member) error {
	o, ok := through.(*instance)
	if !ok {
		return fmt.Errorf("anchors: %T cannot join %T", i, through)
	}
	i.gossip.Join([]peer.AddrInfo{{ID: o.host.ID(), Addrs: o.host.Addrs()}})
	return nil
}

func (i *instance) silence() { i.dark.Store(true) }

func (i *instance) stop() error {
	err := errors.Join(i.gossip.Close(), i.host.Close())
	i.wg.Wait()
	if !errors.Is(i.watch, gossip.ErrClosed) {
		err = errors.Join(err, i.watch)
	}
	return err
}

func (i *instance) cost() cost {
	c := cost{conns: len(i.host.Network().Conns())}
	for _, n := range i.gossip.Traffic().Sent {
		c.frames += n.Frames
		c.bytes += n.Bytes
	}
	return c
}
