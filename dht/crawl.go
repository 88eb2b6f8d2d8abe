package dht

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

const (
	regionSplit   = 3 // a region is asked about in 2^3 equal parts
	crawlParallel = 16
	crawlTimeout  = 20 * time.Second
	crawlRounds   = 3 // crawls of one key, until the size of the region is right
)

// region calls found, perhaps concurrently, with the peers of key's region, each of which has just answered. How large
// the region must be depends on the size of the network, and the crawl itself shows whether the estimate of that was
// right. So an attacker who pretends a larger network gains a round, and no more.
func (d *DHT) region(ctx context.Context, key multihash.Multihash, found func(...peer.ID)) error {
	if d.cfg.Server { // joining looks up the own id, and that is survey enough
		d.awaitEntered(ctx)
	}
	if err := d.survey(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, crawlTimeout)
	defer cancel()
	shared := regionBits(d.size.estimate(), d.cfg.bucket)
	for range crawlRounds {
		n, whole := d.crawl(ctx, key, shared, found)
		if ctx.Err() != nil {
			break
		}
		if whole {
			d.size.add(n)
		}
		better := regionBits(n, d.cfg.bucket)
		if better == shared || whole && better > shared {
			break // a larger region than need be was seen to the end
		}
		shared = better
	}
	return ctx.Err()
}

// survey makes sure of an estimate of the network's size.
func (d *DHT) survey(ctx context.Context) error {
	if d.size.fresh() {
		return nil
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		last error
	)
	for _, t := range randomTargets(surveyLookups) {
		wg.Go(func() {
			peers, err := d.lookup(ctx, t)
			if err == nil {
				d.size.add(density(t, peers, d.connected, d.cfg.bucket))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			last = err
		})
	}
	wg.Wait()
	if d.size.fresh() {
		return nil
	}
	return last
}

// crawl visits key's region once. It returns the size of the network that shows there, and whether all was seen.
func (d *DHT) crawl(ctx context.Context, key multihash.Multihash, shared int, found func(...peer.ID)) (float64, bool) {
	type answer struct {
		visit
		named []peer.ID
		ok    bool
	}
	centre := at(string(key))
	f := newFrontier(d.host.ID(), centre, shared, d.cfg.bucket, d.roots(key))
	parts := targets(centre, shared, regionSplit)
	answers := make(chan answer)
	running := 0
	for {
		for running < crawlParallel && ctx.Err() == nil {
			v, ok := f.next()
			if !ok {
				break
			}
			running++
			target := parts[rand.IntN(len(parts))]
			go func() {
				named, err := d.closer(ctx, v.peer, target)
				answers <- answer{v, named, err == nil}
			}()
		}
		if running == 0 {
			return f.estimate(), f.whole()
		}
		a := <-answers
		running--
		if !a.ok {
			f.missed(a.visit)
			continue
		}
		f.heard(a.visit, a.named)
		if f.inside(a.peer) {
			found(a.peer)
		}
	}
}

// roots returns peers to begin from: of the routing table some that are near to the key and, since an attacker places
// himself there, more that are anywhere; and a few entry points, if connected.
func (d *DHT) roots(key multihash.Multihash) []peer.ID {
	k := d.cfg.bucket
	centre := at(string(key))
	out := d.kad.RoutingTable().NearestPeers(centre[:], k/2)
	all := d.kad.RoutingTable().ListPeers()
	for i, j := range rand.Perm(len(all)) {
		if i == k {
			break
		}
		out = append(out, all[j])
	}
	for _, e := range d.entries(k) {
		if d.connected(e.ID) && len(out) < 2*k {
			out = append(out, e.ID)
		}
	}
	return out
}

// closer asks p whom it knows next to target, and keeps their addresses for a while.
func (d *DHT) closer(ctx context.Context, p peer.ID, target string) ([]peer.ID, error) {
	named, err := d.rpc.closer(ctx, p, target)
	if err != nil {
		return nil, err
	}
	named = named[:min(len(named), 2*d.cfg.bucket)]
	out := make([]peer.ID, 0, len(named))
	for _, i := range named {
		if d.learn(*i) {
			out = append(out, i.ID)
		}
	}
	return out, nil
}

// learn keeps what somebody said of a peer, which is to say its addresses of the kind that we use. It reports whether
// the peer can be dialled.
func (d *DHT) learn(i peer.AddrInfo) bool {
	return d.note(i.ID, addressFilter(d.cfg.Public)(i.Addrs))
}

// note puts a peer's addresses into the peerstore. It reports whether the peer can be dialled.
func (d *DHT) note(p peer.ID, addrs []ma.Multiaddr) bool {
	if p.Validate() != nil || p == d.host.ID() {
		return false
	}
	if d.connected(p) {
		return true // identify knows better
	}
	d.host.Peerstore().AddAddrs(p, addrs, peerstore.TempAddrTTL)
	return len(d.host.Peerstore().Addrs(p)) > 0
}
