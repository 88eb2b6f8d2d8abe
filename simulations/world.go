package simulations

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// Start is when every World begins. It lies between two turns of a ring.
var Start = time.Date(2026, 11, 22, 13, 30, 0, 0, time.UTC)

// Cell is the cell whose instances gossip in a World.
var Cell = cid.MustParse("bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm")

// World runs many Machines in one goroutine. It is not safe for concurrent use; several may run beside each other.
// A Machine that asks for something impossible, such as a frame that has no encoding, makes it panic: that is a bug in
// gossip, and no result of a simulation.
type World struct {
	// Profile is that of every node started from now on.
	Profile gossip.Profile
	// Latency is one way, from a to b. NewWorld sets 200 µs.
	Latency func(a, b *Node) time.Duration
	// Loss is the share of packets that is lost. On a stream it costs time, and never a frame.
	Loss float64
	// Cut says that no packet from a reaches b at this moment. Nil cuts nothing.
	Cut func(a, b *Node) bool
	// Trace sees every frame that arrives, if it is not nil.
	Trace func(from, to *Node, m gossip.Message)
	// KeepEvents collects what each node is told in Node.Events.
	KeepEvents bool
	// Rand decides everything that the World leaves to chance. Whoever draws from it changes the run.
	Rand *rand.Rand

	Counters

	now      time.Time
	queue    queue
	nodes    []*Node
	byID     map[peer.ID]*Node
	verifier *gossip.Verifier
	views    views
	shown    map[shown]bool              // certificates seen
	decoded  map[*gossip.Certificate]int // the size of a frame of each that has been through the wire
}

// NewWorld returns an empty World at Start.
func NewWorld(seed uint64, profile gossip.Profile) *World {
	return &World{
		Profile: profile, Rand: rand.New(rand.NewPCG(seed, 1)),
		Latency:  func(a, b *Node) time.Duration { return 200 * time.Microsecond },
		Counters: Counters{Traffic: make(map[string]gossip.Count)},
		now:      Start, byID: make(map[peer.ID]*Node), verifier: gossip.NewVerifierOf(1 << 18), shown: make(map[shown]bool),
		decoded: make(map[*gossip.Certificate]int),
	}
}

// Now is the present moment of the World.
func (w *World) Now() time.Time { return w.now }

// Node returns the node with an index; indices count from zero in the order of Add.
func (w *World) Node(i int) *Node { return w.nodes[i] }

// Nodes lists all nodes, up or not, by index. The slice is the World's own.
func (w *World) Nodes() []*Node { return w.nodes }

// Verifier is shared by all machines.
func (w *World) Verifier() *gossip.Verifier { return w.verifier }

// Add makes a node that is not up yet.
func (w *World) Add() *Node {
	var seed [ed25519.SeedSize]byte
	for i := range seed {
		seed[i] = byte(w.Rand.Uint32())
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(fmt.Sprintf("simulations: key from a seed: %v", err))
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		panic(fmt.Sprintf("simulations: peer of a key: %v", err))
	}
	n := &Node{Index: len(w.nodes), Key: key, ID: id, Dials: make(map[peer.ID]int), w: w}
	w.nodes = append(w.nodes, n)
	w.byID[id] = n
	return n
}

// Run lets time pass.
func (w *World) Run(d time.Duration) { w.Until(d, nil) }

// Until lets time pass until done is true after an event, or for at most d. It reports whether done was.
func (w *World) Until(d time.Duration, done func() bool) bool {
	end := w.now.Add(d)
	for {
		if done != nil && done() {
			return true
		}
		if w.queue.len() == 0 || Start.Add(w.queue.next()).After(end) {
			w.now = end
			return false
		}
		e := w.queue.pop()
		if at := Start.Add(e.at); at.After(w.now) {
			w.now = at
		}
		e.do()
	}
}

// Skip moves the clock without letting anything happen that was due: the world stood still.
func (w *World) Skip(d time.Duration) { w.now = w.now.Add(d) }

// At does something at a moment; one that is past counts as now.
func (w *World) At(t time.Time, do func()) { w.queue.push(t.Sub(Start), do) }

// After does something after a while.
func (w *World) After(d time.Duration, do func()) { w.At(w.now.Add(d), do) }

// Begin adds n nodes and starts them at once; all know the first and nobody else.
func (w *World) Begin(n int) {
	for range n {
		w.Add().Start(w.nodes[:min(1, len(w.nodes)-1)]...)
	}
}

// Populate adds n nodes that know each other from their start, as those of a cell do that has run for long: a Census makes
// room for 10,000. Their links are dialled and their slots given out in the seconds that follow. The World must be empty.
func (w *World) Populate(n int) {
	records := make([]*record.Signed, n)
	for i := range records {
		records[i] = w.Add().Record(uint64(w.now.UnixMilli()))
	}
	census := gossip.NewCensus(Cell, w.Profile, records, w.now)
	for i, node := range w.nodes {
		node.start(records[i], census)
		w.views.add(node, n-1)
	}
	for _, node := range w.nodes {
		node.Input(func(now time.Time, m *gossip.Machine) { m.Tick(now) })
	}
}

// Settle begins a cell of n, gives its links and slots 20 s to settle, and holds its members to listing each other.
func (w *World) Settle(n int) error {
	w.Begin(n)
	w.Run(20 * time.Second)
	return w.Agree(0)
}
