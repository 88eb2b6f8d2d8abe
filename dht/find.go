package dht

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxAsked    = 16                     // entry points asked directly: connected ones first, then at random
	walkTimeout = 30 * time.Second       // of the ordinary look-up, which peers that never answer can stretch
	regionAfter = 500 * time.Millisecond // head start of the ordinary look-up, which mostly suffices
	walkAfter   = 100 * time.Millisecond // head start of whoever dials what an entry point has named

	// What one answer, and one ordinary look-up, may add. A liar's list can be 4 MiB long; it shall not be all that
	// is heard. Nothing is stopped by these.
	answerShare = 1 << 10
	walkShare   = 1 << 14
)

// Find reports the peers that are said to provide key, each once and never the host itself, through found, which is
// called from several goroutines, one at a time. It asks the entry points at once, walks to the key beside that, and
// then queries all of the key's region, so that it ends neither at a count nor at a ring of liars about the key. Run to
// the end that is some 200 messages, and 20 s under attack; a caller who has enough cancels ctx. Peers without an
// address in any answer are looked up, and left out if that fails.
//
// The result is nil when the search ran to its end, whatever it found; ctx's error when that ended it; ErrNoPeers when
// nobody could be asked.
func (d *DHT) Find(ctx context.Context, key cid.Cid, found func(peer.AddrInfo)) error {
	return d.FindVia(ctx, key, nil, found)
}

// FindVia is Find, asking seeds too: the cell's own, to which every instance writes its record.
func (d *DHT) FindVia(ctx context.Context, key cid.Cid, seeds []peer.AddrInfo, found func(peer.AddrInfo)) error {
	ctx, end, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s := &search{DHT: d, key: key, union: newUnion(d.host.ID(), found)}
	s.gets = newFanout(d.host.ID(), s.ask(ctx))
	walked := make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() { s.gets.to(d.nearby(seeds)...) })
	parts.Go(func() {
		defer close(walked)
		s.walk(ctx)
	})
	parts.Go(func() { s.sweep(ctx, walked) })
	parts.Wait()
	answers := s.gets.wait()
	s.resolve(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(answers) == 0 && d.Size() == 0 && s.union.len() == 0:
		return ErrNoPeers
	}
	return nil
}

// search is one Find under way.
type search struct {
	*DHT
	key   cid.Cid
	union *union
	gets  *fanout
}

// ask returns what is done with each peer that is asked directly.
func (s *search) ask(ctx context.Context) func(peer.ID) bool {
	return func(p peer.ID) bool {
		providers, err := s.rpc.get(ctx, p, s.key.Hash())
		if err != nil {
			return false
		}
		share := answerShare
		for _, i := range providers {
			s.union.add(*i, &share)
		}
		return true
	}
}

// walk is the ordinary look-up. Where the table is empty it waits for the entry points to fill it.
func (s *search) walk(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	s.awaitTable(ctx)
	if s.union.len() > 0 {
		select {
		case <-time.After(walkAfter):
		case <-ctx.Done():
			return
		}
	}
	share := walkShare
	for i := range s.kad.FindProvidersAsync(ctx, s.key, 0) {
		s.union.add(i, &share)
	}
}

// sweep asks all of the key's region.
func (s *search) sweep(ctx context.Context, walked <-chan struct{}) {
	s.awaitTable(ctx)
	select {
	case <-walked:
	case <-time.After(regionAfter):
	case <-ctx.Done():
		return
	}
	if err := s.region(ctx, s.key.Hash(), s.gets.to); err != nil {
		s.log.Debug("region not known", "cid", s.key, "err", err)
	}
}

// awaitTable returns when the table has a peer, or when the first round of entry points is over and has brought none.
func (d *DHT) awaitTable(ctx context.Context) {
	for {
		n, changed := d.table.state()
		if n > 0 {
			return
		}
		select {
		case <-changed:
		case <-d.entered:
			return
		case <-ctx.Done():
			return
		}
	}
}

// nearby returns the peers that are asked at once, all with addresses in the peerstore.
func (d *DHT) nearby(seeds []peer.AddrInfo) []peer.ID {
	all := slices.Clone(seeds)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = append(all, d.entries(1<<10)...)
	slices.SortStableFunc(all, func(a, b peer.AddrInfo) int { return d.cost(a.ID) - d.cost(b.ID) })
	out := make([]peer.ID, 0, maxAsked)
	for _, e := range all {
		if slices.Contains(out, e.ID) || !d.note(e.ID, e.Addrs) {
			continue
		}
		if out = append(out, e.ID); len(out) == maxAsked {
			break
		}
	}
	return out
}

// cost orders peers by what asking them takes: a message, or a dial before it.
func (d *DHT) cost(p peer.ID) int {
	if d.connected(p) {
		return 0
	}
	return 1
}

func (d *DHT) connected(p peer.ID) bool {
	return d.host.Network().Connectedness(p) == network.Connected
}

// awaitEntered returns when the first round of entry points is over and, in a server, the own id has been looked up.
func (d *DHT) awaitEntered(ctx context.Context) {
	select {
	case <-d.entered:
	case <-ctx.Done():
	}
}
