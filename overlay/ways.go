package overlay

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// Ways returns the ways of finding that this node has for a cell: gossip if it is an instance itself, the DHT, and
// the LAN. Seeds are asked for the cell's key before the DHT is walked, because instances leave their records with
// them. The ways stay usable until the node closes.
func (n *Node) Ways(cell manifest.Cell, seeds []manifest.Seed) []find.Way {
	var ways []find.Way
	if (*handler)(n).instance(cell.ID()) != nil {
		ways = append(ways, find.Way{Name: find.Gossip, Run: func(ctx context.Context, sink find.Sink) error {
			return n.gossipWay(ctx, cell, sink)
		}})
	}
	if n.dht != nil {
		ways = append(ways, find.Way{Name: find.DHT, Run: func(ctx context.Context, sink find.Sink) error {
			n.awaitNeighbour(ctx, seeds)
			return n.dht.FindVia(ctx, cell.ID(), seedInfos(seeds, n.ID()), func(p peer.AddrInfo) {
				if p.ID != n.ID() {
					sink.Found(find.Candidate{Peer: p.ID, Addrs: reachedAt(p.Addrs), Way: find.DHT})
				}
			})
		}})
	}
	if n.lan != nil {
		ways = append(ways, find.Way{Name: find.MDNS, Run: n.lan.way})
	}
	return ways
}

// gossipWay pushes the members of a cell that this node serves.
func (n *Node) gossipWay(ctx context.Context, cell manifest.Cell, sink find.Sink) error {
	i := (*handler)(n).instance(cell.ID())
	if i == nil {
		return nil
	}
	return i.gossip.Watch(ctx, func(events []gossip.Event) {
		for _, e := range events {
			rec := e.Member.Record
			switch e.Kind {
			case gossip.Dead, gossip.Left, gossip.Expired, gossip.Revoked:
				g := find.Gone{Peer: rec.Peer, Incarnation: rec.Incarnation}
				if rec.State == record.Leaving {
					g.Leave = rec
				}
				sink.Gone(g)
			case gossip.Twin: // nobody's record has changed
			default:
				sink.Found(find.Candidate{Peer: rec.Peer, Addrs: rec.Addrs, Record: rec, Way: find.Gossip, Trusted: true, Self: e.Member.Self})
			}
		}
		sink.Listed()
	})
}

// idleTracker is how long a cell that nobody asks for is still followed.
const idleTracker = 10 * time.Minute

// tracked is a tracker that the node keeps for whoever asks again.
type tracked struct {
	*find.Tracker
	forget func()    // ends the keeping of its trust document
	used   time.Time // under Node.mu
	users  int       // under Node.mu
}

// Close is Tracker.Close.
func (t *tracked) Close() error {
	err := t.Tracker.Close()
	t.forget()
	return err
}

// Track returns the node's tracker of what is asked for, starting it if need be: a second call for the same cell is
// answered from what is known. Seeds are hints from the asker's own files. done must be called when the tracker is
// no longer used; it stays warm for ten minutes after the last use.
func (n *Node) Track(req find.Request, seeds []manifest.Seed, only []string) (t *find.Tracker, done func(), err error) {
	only = slices.Sorted(slices.Values(only))
	key := strings.Join(append([]string{req.Cell.String(), req.Commit, req.Fingerprint, req.Publishers}, only...), "\x00")
	cfg := n.trackerConfig(req, seeds, only)
	if cfg.Authority, err = req.Authority(); err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, errClosed
	}
	got := n.trackers[key]
	if got == nil {
		got = &tracked{forget: func() {}}
		if cfg.Authority != nil {
			got.forget = n.cfg.KeepTrust(cfg.Authority)
		}
		got.Tracker = find.New(cfg)
		n.trackers[key] = got
	}
	if len(only) == 0 || slices.Contains(only, find.Seed) {
		addSeeds(got.Tracker, seeds)
	}
	got.users++
	return got.Tracker, sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		got.users--
		got.used = time.Now()
	}), nil
}

// followed is how many instances push their lists to a tracker: one may die, or lie by omission.
const followed = 2

func (n *Node) trackerConfig(req find.Request, seeds []manifest.Seed, only []string) find.Config {
	cfg := find.Config{Request: req, Ways: n.meters.ways(n.Ways(req.Cell, seeds)), Dialer: n.meters.dialer(n.dialer), Follow: followed, Log: n.log}
	if slices.ContainsFunc(cfg.Ways, func(w find.Way) bool { return w.Name == find.Gossip }) {
		cfg.Follow = 0 // gossip pushes
	}
	if len(only) == 0 {
		return cfg
	}
	cfg.Ways = slices.DeleteFunc(cfg.Ways, func(w find.Way) bool { return !slices.Contains(only, w.Name) })
	if !slices.Contains(only, find.List) {
		cfg.Follow = 0
	}
	return cfg
}

func addSeeds(t *find.Tracker, seeds []manifest.Seed) {
	for _, s := range seeds {
		t.Found(find.Candidate{Peer: s.Peer, Addrs: s.Addrs, Way: find.Seed, Trusted: true})
	}
}

// evictIdle closes trackers that nobody has used for idleTracker.
func (n *Node) evictIdle() {
	tick := time.NewTicker(idleTracker / 10)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-tick.C:
			for _, t := range n.takeIdle(now) {
				t.Close()
			}
		}
	}
}

func (n *Node) takeIdle(now time.Time) (idle []*tracked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, t := range n.trackers {
		if t.users == 0 && now.Sub(t.used) > idleTracker {
			idle = append(idle, t)
			delete(n.trackers, key)
		}
	}
	return idle
}
