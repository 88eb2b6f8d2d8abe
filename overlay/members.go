package overlay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/dht"
	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// Seeds lists the instances of the cell that live, as this one knows them, itself included: as a seed list has them,
// sorted by peer. One that leaves is not among them.
func (i *Instance) Seeds() []manifest.Seed {
	var list []manifest.Seed
	for _, m := range i.gossip.Members() {
		direct, _ := record.SplitCircuits(m.Record.Addrs) // relays change
		if r := m.Record; r.State != record.Leaving && len(direct) > 0 {
			list = append(list, manifest.Seed{Peer: r.Peer, Addrs: direct, Record: r.Envelope})
		}
	}
	slices.SortFunc(list, func(a, b manifest.Seed) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
	return list
}

// Rank is this instance's place among the members of its cell in the order of the hour, from 0.
func (i *Instance) Rank() int {
	return dht.Rank(dht.Epoch(time.Now()), i.id, i.node.ID(), i.members())
}

// members lists who is in the cell, as this instance knows.
func (i *Instance) members() []peer.ID {
	members := i.gossip.Members()
	ids := make([]peer.ID, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.Record.Peer)
	}
	return ids
}

// WatchSeeds calls f, one call at a time, when Seeds may have changed, and once at the start. It returns when ctx or the
// instance ends, or when f is too slow.
func (i *Instance) WatchSeeds(ctx context.Context, f func()) error {
	return i.gossip.Watch(ctx, func([]gossip.Event) { f() })
}

// Answers reports whether a seed says, now, that it is an instance of this cell.
func (i *Instance) Answers(ctx context.Context, s manifest.Seed) bool {
	target := link.Target{Peer: s.Peer, Addrs: s.Addrs}
	_, err := i.node.dialer.Probe(ctx, target, link.Hello{Op: link.Probing, Cell: i.id})
	return err == nil
}
