package gossip

import (
	"bufio"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
)

const (
	// QueueFrames and queueBytes bound what waits for one peer. What does not fit is dropped: anti-entropy brings it.
	QueueFrames = 512
	queueBytes  = 4 << 20
	// OpenTimeout bounds a dial with the opening of a stream.
	OpenTimeout = 5 * time.Second
	// writeTimeout ends a stream whose reader has stopped.
	writeTimeout = 5 * time.Second
	// helloTimeout bounds the wait for a stream's first frame.
	helloTimeout = 10 * time.Second
	// idleConnection is how long a connection without a stream may still be wanted, as by the DHT on the same host.
	idleConnection = 10 * time.Second
	// maxInbounds is how many streams one peer may hold open to us; a new one ends the oldest.
	maxInbounds = 3
)

// outbound carries frames to one peer over a stream of its own, which is opened when there is something to send and
// begins with a Hello.
type outbound struct {
	id      peer.ID
	addrs   []ma.Multiaddr
	stale   []network.Conn // closed before the stream is opened
	queue   chan []byte
	queued  atomic.Int64 // bytes in queue
	ctx     context.Context
	cancel  context.CancelFunc
	reached chan struct{} // holds one when there is a connection to the peer, whoever made it
	came    chan struct{} // holds one when the peer has opened a stream of its own
}

// outboundTo returns the way to a peer and makes one if there is none. g.mu is held.
func (g *Gossip) outboundTo(id peer.ID, addrs []ma.Multiaddr) *outbound {
	if o := g.outbounds[id]; o != nil {
		return o
	}
	return g.newOutbound(id, addrs, nil)
}

// newOutbound makes the way to a peer to which there is none. g.mu is held.
func (g *Gossip) newOutbound(id peer.ID, addrs []ma.Multiaddr, stale []network.Conn) *outbound {
	o := &outbound{
		id: id, addrs: slices.Concat(addrs, g.machine.Addrs(id)), stale: stale,
		queue: make(chan []byte, QueueFrames), reached: make(chan struct{}, 1), came: make(chan struct{}, 1),
	}
	o.ctx, o.cancel = context.WithCancel(g.ctx)
	g.outbounds[id] = o
	g.wg.Go(func() { g.write(o) })
	return o
}

// send queues a message. It never waits.
func (g *Gossip) send(s Send) {
	body := toFrame(s.Message, g.cfg.Cell)
	frame, err := encodeFrame(body)
	if err != nil {
		g.log.Error("frame not sent", "err", err)
		return
	}
	g.traffic.count(&g.traffic.sent, kindOf(body), len(s.To), len(frame))
	for _, id := range s.To {
		if !g.outboundTo(id, nil).put(frame) {
			g.log.Debug("queue full, frame dropped", "peer", id)
		}
	}
}

// put queues a frame and reports whether there was room. It is called by one goroutine at a time.
func (o *outbound) put(frame []byte) bool {
	if o.queued.Load()+int64(len(frame)) > queueBytes {
		return false
	}
	select {
	case o.queue <- frame:
		o.queued.Add(int64(len(frame)))
		return true
	default:
		return false
	}
}

// greet says Hello: as the first frame of a new stream, or on the one that is open. g.mu is held.
func (g *Gossip) greet(info peer.AddrInfo) {
	if g.outbounds[info.ID] != nil {
		g.send(Send{[]peer.ID{info.ID}, g.machine.Hello()})
		return
	}
	g.outboundTo(info.ID, info.Addrs)
}

// reopen begins a new stream to a peer, over the newest connection to it: the others may lead to a process that no longer
// runs, and the host would choose the one with the most streams. g.mu is held.
func (g *Gossip) reopen(id peer.ID) {
	g.drop(id)
	conns := slices.Clone(g.cfg.Host.Network().ConnsToPeer(id))
	slices.SortFunc(conns, func(a, b network.Conn) int { return a.Stat().Opened.Compare(b.Stat().Opened) })
	g.newOutbound(id, nil, conns[:max(0, len(conns)-1)])
}

// drop ends the stream to a peer; what is queued is lost. g.mu is held.
func (g *Gossip) drop(id peer.ID) {
	if o := g.outbounds[id]; o != nil {
		o.cancel()
		delete(g.outbounds, id)
	}
}

// changeLink protects the connection to a neighbour from being trimmed, or gives it free.
func (g *Gossip) changeLink(c LinkChange) {
	tag := "cell/gossip/" + g.cfg.Cell.String()
	if c.Keep {
		g.cfg.Host.ConnManager().Protect(c.Peer, tag)
		return
	}
	g.cfg.Host.ConnManager().Unprotect(c.Peer, tag)
	g.drop(c.Peer)
	g.dials.forget(c.Peer)
}

// refuse ends all streams with a peer.
func (g *Gossip) refuse(id peer.ID) {
	g.drop(id)
	for _, in := range g.inbounds[id] {
		in.stream.Reset()
	}
}

// write opens the stream to a peer and writes what is queued, until something fails or the outbound is dropped.
func (g *Gossip) write(o *outbound) {
	err := g.writeAll(o)
	o.cancel()
	g.input(func(now time.Time, m *Machine) {
		if g.outbounds[o.id] == o {
			delete(g.outbounds, o.id)
			g.log.Debug("stream ended", "peer", o.id, "err", err)
			m.Broken(now, o.id)
		}
		g.hangUpLater(o.id)
	})
}

func (g *Gossip) writeAll(o *outbound) error {
	s, err := g.open(o)
	if err != nil {
		g.mu.Lock()
		if g.outbounds[o.id] == o && len(g.inbounds[o.id]) == 0 {
			g.dials.fail(o.id)
		}
		g.mu.Unlock()
		return err
	}
	g.dials.forget(o.id)
	defer s.Reset()
	stop := context.AfterFunc(o.ctx, func() { s.Close(); s.Reset() })
	defer stop()
	w := bufio.NewWriterSize(s, 4<<10)
	frame, err := g.hello()
	if err != nil {
		return err
	}
	for {
		if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := w.Write(frame); err != nil {
			return err
		}
		if len(o.queue) == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		select {
		case frame = <-o.queue:
			o.queued.Add(-int64(len(frame)))
		case <-o.ctx.Done():
			return o.ctx.Err()
		}
	}
}

func (g *Gossip) hello() ([]byte, error) {
	g.mu.Lock()
	h := g.machine.Hello()
	g.mu.Unlock()
	return Encode(h, g.cfg.Cell)
}

// open opens the stream to a peer, and dials it if need be, in its turn.
func (g *Gossip) open(o *outbound) (network.Stream, error) {
	for _, c := range o.stale {
		_ = c.Close() // it may be dead already
	}
	defer g.dials.wait(o.id, o.reached)()
	select {
	case <-time.After(g.dials.rest(o.id)):
	case <-o.reached:
	case <-o.ctx.Done():
		return nil, o.ctx.Err()
	}
	if g.isConnected(o.id) {
		return g.newStream(o.ctx, o)
	}
	done, err := g.dials.begin(o.ctx, o.reached)
	if err != nil {
		return nil, err
	}
	s, err := g.dial(o)
	done(err == nil)
	return s, err
}

func (g *Gossip) isConnected(id peer.ID) bool { return len(g.cfg.Host.Network().ConnsToPeer(id)) > 0 }

// dial opens a stream over a new connection, or over the peer's own when it comes meanwhile.
func (g *Gossip) dial(o *outbound) (network.Stream, error) {
	select {
	case <-o.came: // before, and its connection has ended
	default:
	}
	ctx, cancel := context.WithCancel(o.ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-o.came:
			cancel()
		case <-ctx.Done():
		}
	})
	s, err := g.newStream(ctx, o)
	cancel()
	watching.Wait()
	if err != nil && g.isConnected(o.id) {
		return g.newStream(o.ctx, o)
	}
	return s, err
}

// newStream has the host dial, if there is no connection. The swarm's own backoff is lifted: dials leaves a peer alone long
// enough.
func (g *Gossip) newStream(ctx context.Context, o *outbound) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, OpenTimeout)
	defer cancel()
	if len(o.addrs) > 0 {
		g.cfg.Host.Peerstore().AddAddrs(o.id, o.addrs, peerstore.TempAddrTTL)
	}
	if s, ok := g.cfg.Host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(o.id)
	}
	return g.cfg.Host.NewStream(ctx, o.id, Protocol)
}

// inbound is a stream that a peer has opened.
type inbound struct{ stream network.Stream }

// serve reads a peer's stream, whose first frame has been read, until it ends.
func (g *Gossip) serve(s network.Stream, r *bufio.Reader, first *pb.Frame) {
	if ping := first.GetPing(); ping != nil {
		g.answerProbe(s, ping)
		return
	}
	in, from := &inbound{s}, s.Conn().RemotePeer()
	if !g.enter(in, from) {
		s.Reset()
		return
	}
	defer g.wg.Done()
	err := g.read(in, from, r, first)
	s.Reset()
	g.mu.Lock()
	g.inbounds[from] = slices.DeleteFunc(g.inbounds[from], func(o *inbound) bool { return o == in })
	last := len(g.inbounds[from]) == 0
	if last {
		delete(g.inbounds, from)
	}
	g.mu.Unlock()
	g.log.Debug("peer's stream ended", "peer", from, "err", err)
	if last {
		g.input(func(now time.Time, m *Machine) {
			m.Closed(now, from)
			g.hangUpLater(from)
		})
	}
}

// hangUpLater closes the connections to a peer some time after the last stream with it has ended, unless there is another
// then, or somebody else on this host uses or values them: idle connections cost packets, too. g.mu is held.
func (g *Gossip) hangUpLater(id peer.ID) {
	if g.hanging[id] || g.inUse(id) {
		return
	}
	g.hanging[id] = true
	g.wg.Go(func() {
		select {
		case <-time.After(idleConnection):
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock()
		delete(g.hanging, id)
		used := g.inUse(id)
		g.mu.Unlock()
		if used {
			return
		}
		for _, c := range g.cfg.Host.Network().ConnsToPeer(id) {
			if len(c.GetStreams()) == 0 {
				c.Close()
			}
		}
	})
}

// inUse reports whether there is a stream with a peer, or a reason to keep the connection. g.mu is held.
func (g *Gossip) inUse(id peer.ID) bool {
	manager := g.cfg.Host.ConnManager()
	info := manager.GetTagInfo(id)
	return g.outbounds[id] != nil || len(g.inbounds[id]) > 0 || manager.IsProtected(id, "") || info != nil && info.Value > 0
}

// enter counts a stream in, unless the Gossip has been closed.
func (g *Gossip) enter(in *inbound, from peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	g.dials.forget(from)
	g.dials.connected(from)
	if o := g.outbounds[from]; o != nil {
		select {
		case o.came <- struct{}{}:
		default:
		}
	}
	if ins := g.inbounds[from]; len(ins) >= maxInbounds {
		ins[0].stream.Reset()
	}
	g.inbounds[from] = append(g.inbounds[from], in)
	return true
}

func (g *Gossip) read(in *inbound, from peer.ID, r *bufio.Reader, frame *pb.Frame) error {
	for {
		g.traffic.count(&g.traffic.received, kindOf(frame), 1, proto.Size(frame))
		msg, err := fromFrame(frame)
		if err != nil {
			return err
		}
		if msg != nil && !g.input(func(now time.Time, m *Machine) { m.Receive(now, from, msg) }) {
			return ErrClosed
		}
		if frame, err = readFrame(r); err != nil {
			return err
		}
	}
}
