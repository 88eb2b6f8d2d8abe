package gossip

import (
	"container/heap"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

// worldStart lies between two turns of a ring.
var worldStart = time.Date(2026, 11, 22, 13, 30, 0, 0, time.UTC)

// world runs many Machines in one goroutine and one seeded order of events. It stands for the driver and the network:
// streams that deliver in order, on which loss is delay; dials; silent crashes, partitions and pauses.
type world struct {
	t        testing.TB
	now      time.Time
	rand     *rand.Rand
	queue    eventQueue
	order    uint64
	nodes    []*modelNode
	byID     map[peer.ID]*modelNode
	verifier *Verifier
	profile  Profile

	latency func(a, b *modelNode) time.Duration // one way
	loss    float64
	cut     func(a, b *modelNode) bool // frames from a to b do not arrive

	frames, bytes int
	trace         func(from, to *modelNode, m Message) // sees every frame that arrives
}

// modelNode is one process that comes and goes, with one key.
type modelNode struct {
	w       *world
	index   int
	key     crypto.PrivKey
	id      peer.ID
	m       *Machine
	up      bool
	life    int
	paused  bool
	held    []func()
	streams map[peer.ID]*modelStream
	dials   map[peer.ID]int // attempts, of streams and fresh connections
	wakeAt  time.Time
	events  []timedEvent
	// bend may replace or drop what the machine sends: a liar.
	bend func(m Message) Message
}

type timedEvent struct {
	at time.Time
	Event
}

type modelStream struct {
	from, to         *modelNode
	fromLife, toLife int
	open             bool
	frames           []modelFrame
	last             time.Time
	stuck            time.Time
	closed           bool
}

type modelFrame struct {
	parcel
	ready time.Time
}

// parcel is a message that has been through the wire, once for all its receivers.
type parcel struct {
	msg  Message
	size int
}

func (w *world) pack(m Message) parcel {
	w.t.Helper()
	data, err := encode(m, testCell)
	if err != nil {
		w.t.Fatal(err)
	}
	_, n := binary.Uvarint(data)
	frame, err := unmarshalFrame(data[n:])
	if err != nil {
		w.t.Fatal(err)
	}
	msg, err := fromFrame(frame)
	if err != nil {
		w.t.Fatalf("%T: %v", m, err)
	}
	return parcel{msg, len(data)}
}

func newWorld(t testing.TB, seed uint64, profile Profile) *world {
	return &world{
		t: t, now: worldStart, rand: rand.New(rand.NewPCG(seed, 1)), byID: make(map[peer.ID]*modelNode),
		verifier: NewVerifier(), profile: profile,
		latency: func(a, b *modelNode) time.Duration { return 200 * time.Microsecond },
		cut:     func(a, b *modelNode) bool { return false },
	}
}

// add makes a node that is not up yet.
func (w *world) add() *modelNode {
	var seed [ed25519.SeedSize]byte
	for i := range seed {
		seed[i] = byte(w.rand.Uint32())
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &modelNode{w: w, index: len(w.nodes), key: key, id: id, dials: make(map[peer.ID]int)}
	w.nodes = append(w.nodes, n)
	w.byID[id] = n
	return n
}

func (n *modelNode) record(incarnation uint64) *record.Signed {
	rec, err := record.Sign(n.key, record.Instance{
		Cell: testCell, Incarnation: incarnation, Seq: 1, State: record.Serving,
		Addrs:  []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/10.0.%d.%d/udp/40000/quic-v1", n.index/256, n.index%256))},
		Issued: n.w.now, Expires: n.w.now.Add(record.Validity),
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return rec
}

// start begins a new life of a node, which knows the hints.
func (n *modelNode) start(hints ...*modelNode) {
	n.startAs(uint64(n.w.now.UnixMilli()), hints...)
}

func (n *modelNode) startAs(incarnation uint64, hints ...*modelNode) {
	m, err := NewMachine(MachineConfig{
		Key: n.key, Record: n.record(incarnation), Profile: n.w.profile, Verifier: n.w.verifier,
		Rand: rand.New(rand.NewPCG(n.w.rand.Uint64(), n.w.rand.Uint64())),
	}, n.w.now)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.m, n.up, n.paused, n.streams, n.wakeAt = m, true, false, make(map[peer.ID]*modelStream), time.Time{}
	n.life++
	var infos []peer.AddrInfo
	for _, h := range hints {
		infos = append(infos, peer.AddrInfo{ID: h.id})
	}
	n.input(func() { n.m.Join(n.w.now, infos) })
}

// crash ends a node without a word.
func (n *modelNode) crash() { n.up = false; n.life++ }

// stop ends a node as a host that closes its connections does.
func (n *modelNode) stop() {
	n.crash()
	for _, o := range n.w.nodes {
		if o.up && o != n {
			n.w.after(n.w.latency(n, o), func() { o.input(func() { o.m.Closed(n.w.now, n.id); delete(o.streams, n.id) }) })
		}
	}
}

// pause makes a node stand still; what arrives waits.
func (n *modelNode) pause(d time.Duration) {
	n.paused = true
	life := n.life
	n.w.after(d, func() {
		if n.life != life {
			return
		}
		n.paused = false
		n.input(func() { n.m.Tick(n.w.now) })
		held := n.held
		n.held = nil
		for _, f := range held {
			n.input(f)
		}
	})
}

// input runs one input of the machine and does what it wants done.
func (n *modelNode) input(f func()) {
	if !n.up {
		return
	}
	if n.paused {
		n.held = append(n.held, f)
		return
	}
	f()
	n.dispatch(n.m.Take())
	n.schedule()
}

func (n *modelNode) schedule() {
	next := n.m.Next()
	if next.IsZero() || !n.wakeAt.IsZero() && !n.wakeAt.After(next) && n.wakeAt.After(n.w.now) {
		return
	}
	n.wakeAt = next
	life := n.life
	n.w.at(next, func() {
		if n.life == life && n.wakeAt.Equal(next) {
			n.wakeAt = time.Time{}
			n.input(func() { n.m.Tick(n.w.now) })
		}
	})
}

func (n *modelNode) dispatch(out Output) {
	for _, id := range out.Refuses {
		n.closeStream(id)
	}
	for _, c := range out.Links {
		if !c.Keep {
			n.closeStream(c.Peer)
		}
	}
	for _, id := range out.Reopens {
		n.closeStream(id)
	}
	for _, info := range out.Connects {
		if n.streams[info.ID] != nil {
			n.send(Send{[]peer.ID{info.ID}, n.m.Hello()})
		} else {
			n.stream(info.ID)
		}
	}
	for _, s := range out.Sends {
		n.send(s)
	}
	for _, info := range out.Redials {
		n.redial(info.ID)
	}
	for _, e := range out.Events {
		n.events = append(n.events, timedEvent{n.w.now, e})
	}
}

func (n *modelNode) send(s Send) {
	msg := s.Message
	if n.bend != nil {
		if msg = n.bend(msg); msg == nil {
			return
		}
	}
	p := n.w.pack(msg)
	for _, to := range s.To {
		if s := n.stream(to); s != nil {
			s.put(p)
		}
	}
}

// stream returns the node's stream to a peer and dials it if there is none.
func (n *modelNode) stream(id peer.ID) *modelStream {
	to := n.w.byID[id]
	if to == nil || to == n {
		return nil
	}
	if s := n.streams[id]; s != nil {
		if !s.open || s.toLife == to.life || !to.up {
			return s
		}
		delete(n.streams, id) // it runs again and resets what it does not know
	}
	n.dials[id]++
	s := &modelStream{from: n, to: to, fromLife: n.life}
	n.streams[id] = s
	rtt := n.w.latency(n, to) + n.w.latency(to, n)
	n.w.after(2*rtt+n.w.lossDelay(rtt), func() { s.opened(rtt) })
	return s
}

func (s *modelStream) opened(rtt time.Duration) {
	w := s.from.w
	if s.closed || s.from.life != s.fromLife {
		return
	}
	if !s.to.up || s.to.paused || w.cut(s.from, s.to) || w.cut(s.to, s.from) {
		w.after(openTimeout-2*rtt, s.broke)
		return
	}
	s.open, s.toLife = true, s.to.life
	queued := s.frames
	s.frames = nil
	s.put(w.pack(s.from.m.Hello()))
	for _, f := range queued {
		s.put(f.parcel)
	}
}

func (s *modelStream) broke() {
	if s.closed || s.from.life != s.fromLife {
		return
	}
	s.closed = true
	if s.from.streams[s.to.id] == s {
		delete(s.from.streams, s.to.id)
	}
	s.from.input(func() { s.from.m.Broken(s.from.w.now, s.to.id) })
}

func (s *modelStream) put(p parcel) {
	w := s.from.w
	if !s.open {
		s.frames = append(s.frames, modelFrame{parcel: p})
		return
	}
	w.frames++
	w.bytes += p.size
	lat := w.latency(s.from, s.to)
	ready := w.now.Add(lat + w.lossDelay(2*lat))
	if ready.Before(s.last) {
		ready = s.last
	}
	s.last = ready
	s.frames = append(s.frames, modelFrame{p, ready})
	w.at(ready, s.pump)
}

// lossDelay is what lost packets cost on a stream: retransmission after 2 RTT, within 200 ms to 1 s, doubling.
func (w *world) lossDelay(rtt time.Duration) time.Duration {
	var d time.Duration
	rto := min(max(2*rtt, 200*time.Millisecond), time.Second)
	for w.loss > 0 && w.rand.Float64() < w.loss && d < 30*time.Second {
		d += rto
		rto *= 2
	}
	return d
}

// pump delivers what has arrived, in order. A cut holds it up; after half a minute the stream breaks.
func (s *modelStream) pump() {
	w := s.from.w
	for len(s.frames) > 0 && !s.frames[0].ready.After(w.now) {
		if s.closed || !s.to.up || s.to.life != s.toLife {
			return
		}
		if w.cut(s.from, s.to) {
			s.holdUp()
			return
		}
		s.stuck = time.Time{}
		msg := s.frames[0].msg
		s.frames = s.frames[1:]
		s.deliver(msg)
	}
}

func (s *modelStream) holdUp() {
	w := s.from.w
	if s.stuck.IsZero() {
		s.stuck = w.now
	}
	if w.now.Sub(s.stuck) > 30*time.Second {
		s.broke()
		s.to.input(func() { s.to.m.Closed(w.now, s.from.id) })
		return
	}
	w.after(300*time.Millisecond, s.pump)
}

func (s *modelStream) deliver(msg Message) {
	w, from, to := s.from.w, s.from.id, s.to
	if w.trace != nil {
		w.trace(s.from, s.to, msg)
	}
	to.input(func() { to.m.Receive(w.now, from, msg) })
}

func (n *modelNode) closeStream(id peer.ID) {
	s := n.streams[id]
	if s == nil {
		return
	}
	delete(n.streams, id)
	s.closed = true
	to := s.to
	n.w.after(n.w.latency(n, to), func() {
		to.input(func() { to.m.Closed(n.w.now, n.id) })
	})
}

func (n *modelNode) redial(id peer.ID) {
	w, to, life := n.w, n.w.byID[id], n.life
	n.dials[id]++
	rtt := w.latency(n, to) + w.latency(to, n)
	took := 2*rtt + w.lossDelay(rtt)
	w.after(took, func() {
		ok := to.up && !to.paused && !w.cut(n, to) && !w.cut(to, n) && took < redialTimeout
		wait := time.Duration(0)
		if !ok {
			wait = redialTimeout
		}
		w.after(wait, func() {
			if n.life == life {
				n.input(func() { n.m.Redialled(w.now, id, ok) })
			}
		})
	})
}

// run lets time pass.
func (w *world) run(d time.Duration) { w.runUntil(w.now.Add(d), nil) }

// runUntil lets time pass until a moment, or until done is true after an event.
func (w *world) runUntil(end time.Time, done func() bool) bool {
	for {
		if done != nil && done() {
			return true
		}
		if len(w.queue) == 0 || w.queue[0].at.After(end) {
			w.now = end
			return false
		}
		e := heap.Pop(&w.queue).(*event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		e.do()
	}
}

func (w *world) at(t time.Time, do func()) {
	w.order++
	heap.Push(&w.queue, &event{t, w.order, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

type event struct {
	at    time.Time
	order uint64
	do    func()
}

type eventQueue []*event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// cell starts n nodes that all know the first, and runs until all know all.
func (w *world) cell(n int) {
	w.t.Helper()
	for i := range n {
		node := w.add()
		if i == 0 {
			node.start()
		} else {
			node.start(w.nodes[0])
		}
	}
	w.run(20 * time.Second) // links and slots settle
	w.mustAgree()
}

// agreed reports whether every node that is up lists exactly those that are up.
func (w *world) agreed() bool {
	up := 0
	for _, n := range w.nodes {
		if n.up {
			up++
		}
	}
	for _, n := range w.nodes {
		if n.up && n.m.rings.len() != up {
			return false
		}
	}
	for _, n := range w.nodes {
		if n.up && !n.listsOnlyUp() {
			return false
		}
	}
	return true
}

func (n *modelNode) listsOnlyUp() bool {
	for _, p := range n.m.rings.order[0] {
		if !n.w.byID[p.id].up {
			return false
		}
	}
	return true
}

func (n *modelNode) lists(o *modelNode) bool { return n.m.rings.has(o.id) }

func (w *world) mustAgree() {
	w.t.Helper()
	if !w.agreed() {
		for _, n := range w.nodes {
			if n.up {
				w.t.Logf("node %d lists %d", n.index, n.m.rings.len())
			}
		}
		w.t.Fatal("the nodes do not list each other")
	}
}

// gone lets time pass until nobody lists a node and returns how long that took.
func (w *world) gone(n *modelNode, within time.Duration) time.Duration {
	w.t.Helper()
	from := w.now
	if !w.runUntil(from.Add(within), func() bool { return w.nobodyLists(n) }) {
		w.t.Fatalf("node %d is still listed after %s", n.index, within)
	}
	return w.now.Sub(from)
}

func (w *world) nobodyLists(n *modelNode) bool {
	for _, o := range w.nodes {
		if o.up && o != n && o.lists(n) {
			return false
		}
	}
	return true
}
