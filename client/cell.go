package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// Found is what is known of a cell.
type Found struct {
	Cell manifest.Cell
	find.Snapshot
}

// cell is one cell that the client looks for.
type cell struct {
	*Resolved
	tracker *find.Tracker
	chooser *chooser
	ended   <-chan struct{} // by close
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// start begins to look for a cell, for a Dial if it is urgent.
func (c *Client) start(r *Resolved, authority *record.Authority, ways []find.Way, urgent bool) *cell {
	ctx, stop := context.WithCancel(context.Background())
	s := &cell{Resolved: r, chooser: newChooser(), ended: ctx.Done(), stop: stop}
	follow := 2
	if !c.uses(find.List) {
		follow = -1
	}
	s.tracker = find.New(find.Config{
		Request: r.request(), Authority: authority, Ways: ways, Dialer: c.dialer, Interfaces: cellInterfaces{c, r}, Follow: follow, Urgent: urgent, Log: c.log,
	})
	if c.home != nil && c.uses(find.Cache) {
		s.wg.Go(func() { c.keepCache(ctx, s) })
	}
	if authority != nil {
		s.wg.Go(func() { c.keepTrust(ctx, s, authority) })
	}
	return s
}

func (s *cell) close() {
	s.stop()
	s.wg.Wait()           // what it knows is written once more
	_ = s.tracker.Close() // which has nothing to say
}

func (c *Client) uses(way string) bool {
	return len(c.cfg.Only) == 0 || slices.Contains(c.cfg.Only, way)
}

// ways are the ways of finding that the configuration leaves open, the nearest and cheapest first.
func (c *Client) ways(r *Resolved) []find.Way {
	var near *nearness
	if r.Policy.AutoSpawn && !c.cfg.NoSpawn && c.home != nil && c.uses(find.Local) {
		near = newNearness(r.Policy)
		near.only = r.Path != ""
	}
	all := []find.Way{
		{Name: find.Local, Run: func(ctx context.Context, sink find.Sink) error { return c.localWay(ctx, r, near, sink) }},
		{Name: find.Seed, Run: func(ctx context.Context, sink find.Sink) error { return c.seedWay(ctx, r, sink) }},
		{Name: find.Cache, Run: func(_ context.Context, sink find.Sink) error { return c.cacheWay(r, find.Cache, sink) }},
	}
	ways := slices.DeleteFunc(all, func(w find.Way) bool {
		return !c.uses(w.Name) || c.home == nil && w.Name != find.Seed
	})
	if c.uses(find.DHT) || c.uses(find.MDNS) || c.uses(find.Gossip) {
		ways = append(ways, c.node.ways(r, c.cfg.Only, c.headStart(r))...)
	}
	if c.uses(find.List) && !slices.ContainsFunc(ways, func(w find.Way) bool { return w.Name != find.Local }) {
		ways = append(ways, find.Way{Name: find.List, Run: func(_ context.Context, sink find.Sink) error {
			return c.entryWay(r, sink)
		}})
	}
	if near != nil {
		ways = append(ways, c.spawnWay(r, near))
	}
	return ways
}

// headStart is what the instances that our own files name are given before git is run and a node is started for a cell:
// either takes more of this machine than a dial does, and mostly one of those instances answers. Nobody waits for it
// where no file names any.
func (c *Client) headStart(r *Resolved) time.Duration {
	const headStart = 100 * time.Millisecond
	if c.uses(find.Seed) && len(r.seeds()) > 0 {
		return headStart
	}
	if c.home != nil && c.uses(find.Cache) {
		if _, err := os.Stat(c.cacheFile(r)); err == nil {
			return headStart
		}
	}
	return 0
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// entryWay names the instances whose lists are asked for where lists are the only way: one that is live suffices.
func (c *Client) entryWay(r *Resolved, sink find.Sink) error {
	foundSeeds(r.seeds(), find.List, sink)
	if c.home == nil {
		return nil
	}
	return c.cacheWay(r, find.List, sink)
}

// localWay names the services of this machine whose node holds its lock, but for those that were started for want of a near
// one when there is one.
func (c *Client) localWay(ctx context.Context, r *Resolved, near *nearness, sink find.Sink) error {
	running, err := c.home.Running() // with an error, the rest
	cid := r.Cell.ID().String()
	for _, s := range running {
		if s.CID != cid || c.fits(ctx, r, s) != nil || near.gaveUp() && s.Spawned != nil && s.Spawned.API != "" {
			continue
		}
		id, decodeErr := peer.Decode(s.Peer)
		if decodeErr != nil {
			err = errors.Join(err, fmt.Errorf("client: %s names the peer %q: %w", s.Name, s.Peer, decodeErr))
			continue
		}
		sink.Found(find.Candidate{Peer: id, Way: find.Local, Socket: s.Socket, Commit: s.Commit, Fingerprint: s.Fingerprint})
	}
	return err
}

// gitTimeout bounds what a search spends on reading a repository's seed list.
const gitTimeout = 20 * time.Second

// seedWay names the instances of Cell.lock at once, and then those of the repository's seed list.
func (c *Client) seedWay(ctx context.Context, r *Resolved, sink find.Sink) error {
	foundSeeds(r.seeds(), find.Seed, sink)
	if err := pause(ctx, c.headStart(r)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	list, err := c.source.Seeds(ctx, r.Git, r.Cell.Tag)
	if list != nil {
		foundSeeds(list.Instances, find.Seed, sink)
	}
	return err
}

func foundSeeds(seeds []manifest.Seed, way string, sink find.Sink) {
	for _, s := range seeds {
		sink.Found(find.Candidate{Peer: s.Peer, Addrs: s.Addrs, Way: way, Trusted: true})
	}
}
