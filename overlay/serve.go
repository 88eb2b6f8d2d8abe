package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/dht"
	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// A Service is what a node serves an instance of.
type Service struct {
	Cell        manifest.Cell
	Commit      string // that is running, in hex; empty: not stated
	Fingerprint string // of its interface, in hex; empty: not stated
	// Incarnation must be higher at each start of the same key; zero means the time in Unix milliseconds.
	Incarnation uint64
	// State is what the first record says; zero means serving.
	State record.State
	// Upstream names where the service listens, for Status.
	Upstream string
	// Handle serves one client's connection, which it owns, and returns when it is done with it. ctx ends when the
	// node closes.
	Handle func(ctx context.Context, c net.Conn)
}

// An Instance is a service that the node has joined its cell with. Its methods may be called by any number of
// goroutines.
type Instance struct {
	node      *Node
	service   Service
	id        cid.Cid
	gossip    *gossip.Gossip
	announcer *dht.Announcer // nil without a DHT
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	open      counter // connections of clients

	look chan struct{} // asks keepMeeting for a round now

	mu    sync.Mutex
	seeds []manifest.Seed
	state record.State
	left  bool
	// announcing is what announces last said: whoever announces goes on a little longer than it would begin.
	announcing bool
}

// renewAfter is when a record is made anew: half of its validity.
const renewAfter = record.Validity / 2

// Serve joins the service's cell and announces the instance as serving. It returns when the instance answers
// clients and has begun to announce; Ready waits for the rest. Until Close, the node owns the instance.
func (n *Node) Serve(ctx context.Context, s Service) (*Instance, error) {
	if len(n.sockets.bound) == 0 {
		return nil, errors.New("overlay: a node that listens nowhere cannot serve: set listen in config.toml")
	}
	if s.Incarnation == 0 {
		s.Incarnation = uint64(time.Now().UnixMilli())
	}
	if s.State == 0 {
		s.State = record.Serving
	}
	i := &Instance{node: n, service: s, id: s.Cell.ID(), state: s.State, look: make(chan struct{}, 1)}
	if err := n.reserve(i.id, s.Cell); err != nil {
		return nil, err
	}
	if err := i.join(ctx); err != nil {
		n.release(i.id)
		return nil, err
	}
	run, cancel := context.WithCancel(n.ctx)
	i.cancel = cancel
	n.mu.Lock()
	n.serving[i.id] = i
	n.mu.Unlock()
	i.wg.Go(func() { i.keepRecord(run) })
	i.wg.Go(func() { i.keepMeeting(run) })
	return i, nil
}

// join begins to gossip and to announce.
func (i *Instance) join(ctx context.Context) (err error) {
	n := i.node
	rec, err := i.sign(i.service.Incarnation, 0, i.state)
	if err != nil {
		return err
	}
	i.gossip, err = gossip.New(ctx, gossip.Config{
		Host: n.host, Key: n.cfg.Key, Cell: i.id, Record: rec, Profile: n.cfg.Profile, Redial: n.redial(i.id),
		Log: n.log.With("cell", i.service.Cell.String()),
	})
	if err != nil || n.dht == nil {
		return err
	}
	if i.announcer, err = n.dht.StartAnnouncing(i.id, i.seedPeers, i.announces); err != nil {
		return errors.Join(err, i.gossip.Close())
	}
	return nil
}

// reserve makes sure that a node serves one instance of a cell; nil stands for one that is still joining.
func (n *Node) reserve(id cid.Cid, cell manifest.Cell) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if _, taken := n.serving[id]; taken {
		return fmt.Errorf("overlay: this node serves %s already; a second instance needs a node of its own", cell)
	}
	n.serving[id] = nil
	return nil
}

func (n *Node) release(id cid.Cid) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.serving, id)
}

// sign makes a record of the instance as it is now.
func (i *Instance) sign(incarnation, seq uint64, state record.State) (*record.Signed, error) {
	now, addrs := time.Now(), i.node.advertised()
	return record.Sign(i.node.cfg.Key, record.Instance{
		Cell: i.id, Incarnation: incarnation, Seq: seq, State: state, Addrs: addrs, Confirmed: i.node.reachable.covers(addrs),
		Issued: now, Expires: now.Add(record.Validity), Commit: i.service.Commit, Fingerprint: i.service.Fingerprint,
	})
}

// publish signs a record of the given state and hands it to gossip.
func (i *Instance) publish(state record.State) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return nil
	}
	self := i.gossip.Self()
	rec, err := i.sign(self.Incarnation, self.Seq+1, state)
	if err != nil {
		return err
	}
	i.state = state
	i.gossip.Update(rec)
	return nil
}

// SetState says that the instance is serving, unhealthy or draining. A new state reaches every member and every
// watching client within a second.
func (i *Instance) SetState(s record.State) error {
	if s == i.State() {
		return nil
	}
	i.node.log.Info("state changed", "cell", i.service.Cell.String(), "state", s.String())
	return i.publish(s)
}

// State returns what the instance says of itself.
func (i *Instance) State() record.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Record returns the newest record: gossip makes one itself when others hold the instance for dead.
func (i *Instance) Record() *record.Signed { return i.gossip.Self() }

// keepRecord makes a new record when the old one has lived half its life, and when the node's addresses change or are
// confirmed.
func (i *Instance) keepRecord(ctx context.Context) {
	const look = 2 * time.Second // libp2p notices a new address within seconds; there is no event for TCP's
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rec := i.Record()
		addrs := i.node.advertised()
		if time.Since(rec.Issued) < renewAfter && slices.EqualFunc(rec.Addrs, addrs, ma.Multiaddr.Equal) &&
			rec.Confirmed == i.node.reachable.covers(addrs) {
			continue
		}
		if err := i.publish(i.State()); err != nil {
			i.node.log.Error("record not renewed", "cell", i.service.Cell.String(), "err", err)
		}
	}
}

// The pauses between two rounds of keepMeeting: short while alone, long when others are known, which is what joins
// two halves of a cell that had lost each other.
const (
	meetMin  = time.Second
	meetMax  = 30 * time.Second
	meetKept = 5 * time.Minute
)

// keepMeeting looks for other members: once at the start, again and again while alone, and now and then later.
func (i *Instance) keepMeeting(ctx context.Context) {
	pause := meetMin
	for {
		i.meet(ctx)
		if len(i.gossip.Members()) > 1 {
			pause = meetKept
		}
		select {
		case <-ctx.Done():
			return
		case <-i.look:
		case <-time.After(pause):
		}
		if pause = min(2*pause, meetMax); len(i.gossip.Members()) > 1 {
			pause = meetKept
		}
	}
}

// Meet names instances that may be members, as a seed list does; they are tried at once and, while the instance is
// alone, again and again. The DHT is told of it through them, too.
func (i *Instance) Meet(seeds []manifest.Seed) {
	i.mu.Lock()
	i.seeds = slices.Clone(seeds)
	i.mu.Unlock()
	select {
	case i.look <- struct{}{}:
	default:
	}
}

func (i *Instance) meet(ctx context.Context) {
	hints := i.seedInfos()
	if i.node.lan != nil {
		hints = append(hints, i.node.lan.peers()...)
	}
	i.gossip.Join(hints)
	if i.node.dht == nil {
		return
	}
	err := i.node.dht.FindVia(ctx, i.id, i.seedInfos(), func(p peer.AddrInfo) {
		if p.ID != i.node.ID() {
			i.gossip.Join([]peer.AddrInfo{p})
		}
	})
	if err != nil && ctx.Err() == nil {
		i.node.log.Debug("no members from the DHT", "cell", i.service.Cell.String(), "err", err)
	}
}

// redial proves that a member can be reached by a connection of its own, from the socket up.
func (n *Node) redial(cell cid.Cid) func(context.Context, peer.AddrInfo) error {
	return func(ctx context.Context, p peer.AddrInfo) error {
		_, err := n.dialer.Probe(ctx, link.Target{Peer: p.ID, Addrs: p.Addrs, Trusted: true}, link.Hello{Op: link.Probing, Cell: cell})
		return err
	}
}

func (i *Instance) seedInfos() []peer.AddrInfo {
	i.mu.Lock()
	defer i.mu.Unlock()
	return seedInfos(i.seeds, i.node.ID())
}

// seedInfos returns the seeds that libp2p can dial, without ourselves.
func seedInfos(seeds []manifest.Seed, self peer.ID) []peer.AddrInfo {
	var list []peer.AddrInfo
	for _, s := range seeds {
		if info := quicInfo(s.Peer, s.Addrs); s.Peer != self && len(info.Addrs) > 0 {
			list = append(list, info)
		}
	}
	return list
}

func (i *Instance) seedPeers() []peer.ID {
	var list []peer.ID
	for _, p := range i.seedInfos() {
		list = append(list, p.ID)
	}
	return list
}

// announces reports whether this instance is one of those that announce the cell: all of them in a small cell, a
// turning few in a large one.
func (i *Instance) announces() bool {
	members := i.gossip.Members()
	ids := make([]peer.ID, 0, len(members))
	for _, m := range members {
		ids = append(ids, m.Record.Peer)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.announcing = dht.Announces(dht.Epoch(time.Now()), i.id, i.node.ID(), ids, i.announcing)
	return i.announcing
}

// Ready returns when the instance is announced in the DHT and has been read back from it, or knows that it is
// alone, or when ctx ends.
func (i *Instance) Ready(ctx context.Context) error {
	if i.announcer == nil {
		return nil
	}
	select {
	case <-i.announcer.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave says goodbye: no new call comes, every member and watching client knows it within a second, and nothing
// older of this incarnation is believed afterwards. Open connections stay. It may be called more than once.
func (i *Instance) Leave(ctx context.Context) error {
	if err := i.publish(record.Draining); err != nil {
		return err
	}
	i.mu.Lock()
	again := i.left
	i.left, i.state = true, record.Leaving
	i.mu.Unlock()
	if again {
		return nil
	}
	if i.announcer != nil {
		i.announcer.Stop()
	}
	return i.gossip.Leave(ctx)
}

// Drained returns when no client is connected any more, or when ctx ends.
func (i *Instance) Drained(ctx context.Context) error { return i.open.zero(ctx) }

// Close ends the instance at once and returns when its goroutines have ended. It may be called more than once.
func (i *Instance) Close() error {
	i.node.release(i.id)
	i.cancel()
	if i.announcer != nil {
		i.announcer.Stop()
	}
	err := i.gossip.Close()
	i.wg.Wait()
	return err
}
