package dht

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/multiformats/go-multihash"
)

const (
	maxSeeds    = 64 // seeds that one announcement writes to; of a longer list a random part
	readBackMax = 8  // holders that are asked whether they have the record
)

// Announced is what one announcement came to.
type Announced struct {
	// Replicas is the number of peers that the record was written to: the closest to the key, its region, the seeds.
	// The message has no answer, so Replicas counts what was sent; Asked and Confirmed tell how much of it holds.
	Replicas int
	// Asked of these, 8 at most, were asked for the record afterwards, and Confirmed returned it with an address.
	Asked, Confirmed int
	// ReadBack: at least one did. An instance is ready when its record was read back, or when it is alone.
	ReadBack bool
	// Alone: no other node is known yet, so there is nobody to tell. Not an error.
	Alone bool
	// At is when the announcement ended.
	At time.Time
}

// Announce writes this host's record once: to the peers closest to key, as Provide does, to all peers of key's region,
// and to seeds, whose addresses are taken from the peerstore or from the entry points. Then it reads the record back.
// Where the first round of entry points is still under way it waits for that. A routing table that is empty even then
// gives Alone; ErrNoAddress and ErrNoHolder say what they say. Records live 15 minutes; see StartAnnouncing.
func (d *DHT) Announce(ctx context.Context, key cid.Cid, seeds []peer.ID) (Announced, error) {
	return d.announce(ctx, key, seeds, func() {})
}

// announce is Announce; it calls held as soon as one holder has returned the record, while it goes on.
func (d *DHT) announce(ctx context.Context, key cid.Cid, seeds []peer.ID, held func()) (Announced, error) {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return Announced{}, err
	}
	defer end()
	self := peer.AddrInfo{ID: d.host.ID(), Addrs: d.kad.FilteredAddrs()}
	if len(self.Addrs) == 0 {
		return Announced{}, ErrNoAddress
	}
	if err := d.kad.Provide(ctx, key, false); err != nil { // into our own store; we may be asked like any other
		return Announced{}, fmt.Errorf("dht: %s: %w", key, err)
	}
	d.awaitTable(ctx)
	holders, err := d.spread(ctx, key.Hash(), d.reachable(seeds), d.writer(ctx, key.Hash(), self, held))
	switch {
	case ctx.Err() != nil:
		return Announced{}, context.Cause(ctx)
	case len(holders) == 0 && d.Size() == 0:
		return Announced{Alone: true, At: time.Now()}, nil
	case len(holders) == 0:
		return Announced{}, errors.Join(ErrNoHolder, err)
	}
	a := Announced{Replicas: len(holders)}
	a.Asked, a.Confirmed = d.readBack(ctx, key.Hash(), holders)
	a.ReadBack, a.At = a.Confirmed > 0, time.Now()
	return a, context.Cause(ctx)
}

// writer returns what is done with each peer that shall hold the record: it is written, and read back until one had it.
func (d *DHT) writer(ctx context.Context, key multihash.Multihash, self peer.AddrInfo, held func()) func(peer.ID) bool {
	var seen atomic.Bool
	return func(p peer.ID) bool {
		if d.rpc.put(ctx, p, key, self) != nil {
			return false
		}
		if !seen.Load() && d.has(ctx, p, key) && seen.CompareAndSwap(false, true) {
			held()
		}
		return true
	}
}

// spread has every peer that shall hold the key written to, and returns those that were.
func (d *DHT) spread(ctx context.Context, key multihash.Multihash, seeds []peer.ID, write func(peer.ID) bool) ([]peer.ID, error) {
	var wg sync.WaitGroup
	var closestErr, regionErr error
	puts := newFanout(d.host.ID(), write)
	puts.to(seeds...)
	if known := d.kad.RoutingTable().ListPeers(); len(known) <= d.cfg.bucket {
		puts.to(known...) // so few are all among the closest; the look-up may wait long for one of them that has died
	}
	wg.Go(func() {
		var peers []peer.ID
		peers, closestErr = d.lookup(ctx, string(key))
		puts.to(peers...)
	})
	wg.Go(func() { regionErr = d.region(ctx, key, puts.to) })
	wg.Wait()
	return puts.wait(), errors.Join(closestErr, regionErr)
}

// readBack asks a random part of the holders for our record.
func (d *DHT) readBack(ctx context.Context, key multihash.Multihash, holders []peer.ID) (asked, confirmed int) {
	holders = slices.Clone(holders)
	rand.Shuffle(len(holders), func(i, j int) { holders[i], holders[j] = holders[j], holders[i] })
	holders = holders[:min(len(holders), readBackMax)]
	gets := newFanout(d.host.ID(), func(p peer.ID) bool { return d.has(ctx, p, key) })
	gets.to(holders...)
	return len(holders), len(gets.wait())
}

// has asks p whether it holds our record, with an address in it.
func (d *DHT) has(ctx context.Context, p peer.ID, key multihash.Multihash) bool {
	providers, err := d.rpc.get(ctx, p, key)
	return err == nil && slices.ContainsFunc(providers, func(i *peer.AddrInfo) bool {
		return i.ID == d.host.ID() && len(i.Addrs) > 0
	})
}

// reachable returns at most maxSeeds of the seeds, all of them with a connection or an address.
func (d *DHT) reachable(seeds []peer.ID) []peer.ID {
	entries := make(map[peer.ID]peer.AddrInfo)
	for _, e := range d.cfg.Bootstrap() {
		entries[e.ID] = e
	}
	var out []peer.ID
	for _, i := range rand.Perm(len(seeds)) {
		p := seeds[i]
		if e, ok := entries[p]; ok {
			d.host.Peerstore().AddAddrs(p, e.Addrs, peerstore.TempAddrTTL)
		}
		if p == d.host.ID() || len(d.host.Peerstore().Addrs(p)) == 0 {
			continue
		}
		if out = append(out, p); len(out) == maxSeeds {
			break
		}
	}
	return out
}
