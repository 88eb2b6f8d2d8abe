package gossip

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

const (
	healthEvery = 250 * time.Millisecond // how often Config.Health is asked
	leaveFlush  = time.Second            // longest wait for neighbours to confirm a leave
)

// Gossip is one instance's part in the gossip of its cell. Its methods may be called from several goroutines.
type Gossip struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // the machine's deadline, or the Authority, has changed

	untrust func() // ends the watch of the Authority

	traffic  traffic
	dials    *dials
	connects *network.NotifyBundle // tells dials

	mu        sync.Mutex
	machine   *Machine
	outbounds map[peer.ID]*outbound
	inbounds  map[peer.ID][]*inbound
	redials   map[peer.ID]bool // under way
	hanging   map[peer.ID]bool // whose connections are about to be closed
	watchers  map[*watcher]bool
	flushed   chan struct{} // closed when every neighbour has confirmed the leave; nil before Leave
	closed    bool
}

// New starts gossiping. It knows nobody until Join or a stream from another member. ctx bounds the call alone.
func New(ctx context.Context, cfg Config) (*Gossip, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var seed [32]byte
	if _, err := cryptorand.Read(seed[:]); err != nil {
		return nil, err
	}
	machine, err := NewMachine(MachineConfig{
		Key: cfg.Key, Record: cfg.Record, Profile: cfg.Profile, Rand: rand.New(rand.NewChaCha8(seed)), Authority: cfg.Authority,
	}, time.Now())
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg, log: cfg.Log.With("cell", cfg.Cell), wake: make(chan struct{}, 1), machine: machine, dials: newDials(),
		outbounds: make(map[peer.ID]*outbound), inbounds: make(map[peer.ID][]*inbound),
		redials: make(map[peer.ID]bool), hanging: make(map[peer.ID]bool), watchers: make(map[*watcher]bool),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := acceptors.add(cfg.Host, cfg.Cell, g); err != nil {
		g.cancel()
		return nil, err
	}
	g.untrust = cfg.Authority.OnChange(g.nudge)
	g.connects = &network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) { g.dials.connected(c.RemotePeer()) }}
	cfg.Host.Network().Notify(g.connects)
	g.wg.Go(g.loop)
	return g, nil
}

// Join names peers that may be members: from a seed list, the DHT or mDNS. They are tried in the background, again
// and again while nobody else is known; whoever answers is merged with, all of its list included.
func (g *Gossip) Join(peers []peer.AddrInfo) {
	g.input(func(now time.Time, m *Machine) { m.Join(now, peers) })
}

// Update publishes a new own record: renewed, with new addresses or another state. If it is not newer than Self, it
// is signed anew with a higher version.
func (g *Gossip) Update(r *record.Signed) {
	g.input(func(now time.Time, m *Machine) { m.Update(now, r) })
}

// Self returns the own record as the others get it. Refutations make it newer than the one last given to Update.
func (g *Gossip) Self() *record.Signed {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.machine.Self()
}

// Members lists the living by peer ID, this instance included.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	members := g.machine.Members()
	g.mu.Unlock()
	for i := range members {
		if members[i].Self {
			members[i].Heard = time.Now()
		}
	}
	slices.SortFunc(members, func(a, b Member) int {
		return bytes.Compare([]byte(a.Record.Peer), []byte(b.Record.Peer))
	})
	return members
}

// Version grows with each change of what Members lists, times aside.
func (g *Gossip) Version() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.machine.Version()
}

// Leave says goodbye, so that all others take this instance off their lists within a round trip per hop, and waits
// until the neighbours have confirmed it, for at most a second. Call Close after it.
func (g *Gossip) Leave(ctx context.Context) error {
	var flushed chan struct{}
	asked := 0
	if !g.input(func(now time.Time, m *Machine) {
		if g.flushed == nil {
			g.flushed = make(chan struct{})
			m.Leave(now)
		}
		flushed, asked = g.flushed, m.Unconfirmed()
	}) {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, leaveFlush)
	defer cancel()
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
	case <-g.ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if waiting := g.machine.Unconfirmed(); asked > 0 && waiting == asked && g.machine.Len() > 1 {
		return ErrNotFlushed
	}
	return nil
}

// Close stops at once, without a goodbye, and returns after every goroutine has ended.
func (g *Gossip) Close() error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		g.untrust()
		acceptors.remove(g.cfg.Host, g.cfg.Cell)
		g.cancel()
		for id := range g.outbounds {
			g.drop(id)
		}
		for _, ins := range g.inbounds {
			for _, in := range ins {
				in.stream.Reset()
			}
		}
	}
	g.mu.Unlock()
	g.cfg.Host.Network().StopNotify(g.connects)
	g.wg.Wait()
	return nil
}

// loop ticks the machine.
func (g *Gossip) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-timer.C:
		case <-g.wake:
		}
		health := record.State(0)
		if g.cfg.Health != nil {
			health = g.cfg.Health()
		}
		next := time.Hour
		g.step(func(now time.Time, m *Machine) {
			if health == record.Serving || health == record.Unhealthy {
				m.SetState(now, health)
			}
			m.Trusted(now)
			if due := m.Next(); !due.IsZero() && !due.After(now) {
				m.Tick(now)
			}
			if due := m.Next(); !due.IsZero() {
				next = due.Sub(now)
			}
		})
		if g.cfg.Health != nil {
			next = min(next, healthEvery)
		}
		timer.Reset(max(next, 0))
	}
}

// input gives the machine one input, does what it wants done, and sees to it that the loop knows the next deadline.
// It reports whether the machine still runs.
func (g *Gossip) input(f func(time.Time, *Machine)) bool {
	sooner := false
	ok := g.step(func(now time.Time, m *Machine) {
		before := m.Next()
		f(now, m)
		after := m.Next()
		sooner = !after.IsZero() && (before.IsZero() || after.Before(before))
	})
	if sooner {
		g.nudge()
	}
	return ok
}

// nudge has the loop look.
func (g *Gossip) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *Gossip) step(f func(time.Time, *Machine)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	f(time.Now(), g.machine)
	g.dispatch(g.machine.Take())
	if g.flushed != nil && g.machine.Unconfirmed() == 0 {
		select {
		case <-g.flushed:
		default:
			close(g.flushed)
		}
	}
	return true
}

// dispatch does what the machine wants done. Nothing in it waits for a peer.
func (g *Gossip) dispatch(out Output) {
	for _, id := range out.Refuses {
		g.refuse(id)
	}
	for _, c := range out.Links {
		g.changeLink(c)
	}
	for _, id := range out.Reopens {
		g.reopen(id)
	}
	for _, info := range out.Connects {
		g.greet(info)
	}
	for _, s := range out.Sends {
		g.send(s)
	}
	for _, info := range out.Redials {
		g.redialLater(info)
	}
	g.publish(out.Events)
}
