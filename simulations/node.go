package simulations

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// Node is one process that comes and goes, with one key. Each start is a new life with a new Machine.
type Node struct {
	Index int
	Key   crypto.PrivKey
	ID    peer.ID
	// Dials counts attempts by peer, of streams and of fresh connections, over all lives.
	Dials map[peer.ID]int
	// Events is what the node was told, if World.KeepEvents is set.
	Events []Event
	// Bend may replace what the machine sends to some peers, or drop it by returning nil: a liar.
	Bend func(gossip.Message) gossip.Message
	// Busy is up to how long the node's machine lets it wait for its turn, in which it does all that has come meanwhile.
	Busy time.Duration

	w       *World
	m       *gossip.Machine
	up      bool
	left    bool
	paused  bool
	life    int
	held    []func()
	streams map[peer.ID]*stream
	wakeAt  time.Time
	turn    time.Time // of a busy node
}

// Event is what a node was told, and when.
type Event struct {
	At time.Time
	gossip.Event
}

// Up reports whether the process runs.
func (n *Node) Up() bool { return n.up }

// Present reports whether the node is a member: it runs and has not said goodbye.
func (n *Node) Present() bool { return n.up && !n.left }

// Paused reports whether the node stands still.
func (n *Node) Paused() bool { return n.paused }

// Machine is that of the present life, or of the last one; nil before the first. Give it inputs by Input alone.
func (n *Node) Machine() *gossip.Machine { return n.m }

// Lists reports whether another node is on this one's list.
func (n *Node) Lists(o *Node) bool { return n.m.Lists(o.ID) }

// Record signs a first record of a life.
func (n *Node) Record(incarnation uint64) *record.Signed {
	rec, err := record.Sign(n.Key, record.Instance{
		Cell: Cell, Incarnation: incarnation, Seq: 1, State: record.Serving,
		Addrs:  []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/10.0.%d.%d/udp/40000/quic-v1", n.Index/256, n.Index%256))},
		Issued: n.w.now, Expires: n.w.now.Add(record.Validity),
	})
	if err != nil {
		panic(fmt.Sprintf("simulations: record of node %d: %v", n.Index, err))
	}
	return rec
}

// Start begins a new life, which knows the hints. Its incarnation is the time.
func (n *Node) Start(hints ...*Node) { n.StartAs(uint64(n.w.now.UnixMilli()), hints...) }

// StartAs begins a new life with an incarnation of its own: a clock that is wrong.
func (n *Node) StartAs(incarnation uint64, hints ...*Node) {
	n.start(n.Record(incarnation), nil)
	n.Join(hints...)
}

func (n *Node) start(rec *record.Signed, census *gossip.Census) {
	if n.up {
		n.Crash()
	}
	m, err := gossip.NewMachine(gossip.MachineConfig{
		Key: n.Key, Record: rec, Profile: n.w.Profile, Verifier: n.w.verifier, Census: census,
		Rand: rand.New(rand.NewPCG(n.w.Rand.Uint64(), n.w.Rand.Uint64())),
	}, n.w.now)
	if err != nil {
		panic(fmt.Sprintf("simulations: machine of node %d: %v", n.Index, err))
	}
	n.m, n.up, n.left, n.paused, n.held = m, true, false, false, nil
	n.streams, n.wakeAt = make(map[peer.ID]*stream), time.Time{}
	n.life++
	n.w.views.changed()
}

// Join tells a node of others.
func (n *Node) Join(hints ...*Node) {
	var infos []peer.AddrInfo
	for _, h := range hints {
		infos = append(infos, peer.AddrInfo{ID: h.ID})
	}
	n.Input(func(now time.Time, m *gossip.Machine) { m.Join(now, infos) })
}

// Crash ends a node without a word: a power cut.
func (n *Node) Crash() {
	if n.Present() {
		n.w.views.end(n)
	}
	n.up = false
	n.life++
}

// Stop ends a node as a host does that closes its connections, without a goodbye.
func (n *Node) Stop() {
	if !n.up {
		return
	}
	n.Crash()
	for _, o := range n.w.nodes {
		if o.up && (o.streams[n.ID] != nil || n.streams[o.ID] != nil) {
			n.w.After(n.w.Latency(n, o), func() {
				o.Input(func(now time.Time, m *gossip.Machine) {
					m.Closed(now, n.ID)
					delete(o.streams, n.ID)
				})
			})
		}
	}
}

// Leave says goodbye, and stops half a second later.
func (n *Node) Leave() {
	if !n.Present() {
		return
	}
	n.w.views.end(n)
	n.Input(func(now time.Time, m *gossip.Machine) { m.Leave(now) })
	n.left = true
	life := n.life
	n.w.After(500*time.Millisecond, func() {
		if n.life == life {
			n.Stop()
		}
	})
}

// Pause makes a node stand still for a while. What arrives waits; its sockets stay open.
func (n *Node) Pause(d time.Duration) {
	n.paused = true
	life := n.life
	n.w.After(d, func() {
		if n.life != life {
			return
		}
		n.paused = false
		n.Input(func(now time.Time, m *gossip.Machine) { m.Tick(now) })
		held := n.held
		n.held = nil
		for _, f := range held {
			n.input(f)
		}
	})
}
