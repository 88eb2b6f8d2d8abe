package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/cellnode/cellnode/dht"
	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// A Service is what a node serves an instance of.
type Service struct {
	Cell        manifest.Cell
	Commit      string // that is running, in hex; empty: not stated
	Fingerprint string // of its interface, in hex; empty: not stated
	// Interface is the one that Fingerprint names, as manifest.InterfaceSet.Marshal returns it. Clients that were made for
	// an older one ask for it, to see whether theirs is still in it. Nil: not stated, so that they are refused.
	Interface []byte
	// Grant lets the instance serve a cell that names its publishers; nil in an open one. See Instance.SetGrant.
	Grant *record.Grants
	// Authority says who else may be a member; nil: the cell is open, and anybody may. It is given the trust documents that
	// others bring.
	Authority *record.Authority
	// Incarnation must be higher at each start of the same key; zero means the time in Unix milliseconds.
	Incarnation uint64
	// State is what the first record says; zero means serving.
	State record.State
	// Upstream names where the service listens, for Status.
	Upstream string
	// Handle serves one client's connection, which it owns, and returns when it is done with it. ctx ends when the
	// node closes.
	Handle func(ctx context.Context, c net.Conn)
	// Connect connects to the service for one client before that is told that its call is taken; an error, within
	// link.PrepareTime, refuses the call. Carry is then what Handle is without it. Both nil: Handle serves.
	Connect func(ctx context.Context) (net.Conn, error)
	Carry   func(ctx context.Context, client, service net.Conn)
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
	twin      atomic.Pointer[twin]

	readdressed chan struct{} // asks keepRecord to look now
	look        chan struct{} // asks keepMeeting for a round now
	met         chan struct{} // closed by firstMet when other members have been looked for once
	firstMet    func()

	mu    sync.Mutex
	seeds []manifest.Seed
	grant *record.Grants
	state record.State
	left  bool
	// drained by Drain; wanted is what SetState last said.
	drained bool
	wanted  record.State
	// announcing is what announces last said: whoever announces goes on a little longer than it would begin.
	announcing bool
}

// Serve joins the service's cell and announces the instance as serving. It returns when the instance answers
// clients and has begun to announce; Ready waits for the rest. Until Close, the node owns the instance.
func (n *Node) Serve(ctx context.Context, s Service) (*Instance, error) {
	if len(n.sockets.bound) == 0 {
		return nil, errors.New("overlay: a node that listens nowhere cannot serve: set listen in config.toml")
	}
	if len(s.Interface) > manifest.MaxInterfaceSet {
		return nil, fmt.Errorf("overlay: interface of %d bytes, at most %d travel", len(s.Interface), manifest.MaxInterfaceSet)
	}
	if s.Incarnation == 0 {
		s.Incarnation = uint64(time.Now().UnixMilli())
	}
	if s.State == 0 {
		s.State = record.Serving
	}
	i := &Instance{node: n, service: s, id: s.Cell.ID(), grant: s.Grant, state: s.State, wanted: s.State, readdressed: make(chan struct{}, 1), look: make(chan struct{}, 1), met: make(chan struct{})}
	i.firstMet = sync.OnceFunc(func() { close(i.met) })
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
	i.wg.Go(func() { i.logEvents(run) })
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
		Authority: i.service.Authority,
		Log:       n.log.With("cell", i.service.Cell.String()),
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
	if _, _, err := i.update(func() { i.drained = true }); err != nil { // the goodbye says the rest
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
	i.firstMet()
	if i.announcer != nil {
		i.announcer.Stop()
	}
	err := i.gossip.Close()
	i.wg.Wait()
	return err
}
