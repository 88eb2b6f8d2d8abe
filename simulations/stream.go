package simulations

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
)

const (
	// heldUp is how long a stream survives that nothing gets through it, as QUIC's idle timeout allows.
	heldUp = 30 * time.Second
	// pumpEvery is how often a stream that is held up tries again.
	pumpEvery = 300 * time.Millisecond
)

// stream carries the frames of one life of a node to one life of another, in order.
type stream struct {
	from, to         *Node
	fromLife, toLife int
	open             bool
	frames           []frame
	lost             int       // frames to a life that has ended: in the queue, as far as the sender knows
	last             time.Time // when the frame put last is ready
	stuck            time.Time // since when nothing gets through; zero while something does
	retrying         bool      // while stuck, a pump is due
	closed           bool
}

type frame struct {
	parcel
	ready time.Time
}

// stream returns the node's stream to a peer and dials it if there is none. It is nil for a peer that is nowhere.
func (n *Node) stream(id peer.ID) *stream {
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
	n.Dials[id]++
	s := &stream{from: n, to: to, fromLife: n.life}
	n.streams[id] = s
	rtt := n.w.Latency(n, to) + n.w.Latency(to, n)
	n.w.After(2*rtt+n.w.lossDelay(rtt), func() { s.opened(rtt) })
	return s
}

func (s *stream) opened(rtt time.Duration) {
	w := s.from.w
	if s.closed || s.from.life != s.fromLife {
		return
	}
	if !s.to.up || s.to.paused || !w.reach(s.from, s.to) {
		w.After(gossip.OpenTimeout-2*rtt, s.broke)
		return
	}
	s.open, s.toLife = true, s.to.life
	queued := s.frames
	s.frames = nil
	s.put(s.from.w.pack(s.from.m.Hello()))
	for _, f := range queued {
		s.put(f.parcel)
	}
}

func (s *stream) broke() {
	if s.closed || s.from.life != s.fromLife {
		return
	}
	s.closed = true
	if s.from.streams[s.to.ID] == s {
		delete(s.from.streams, s.to.ID)
	}
	s.from.input(func() { s.from.m.Broken(s.from.w.now, s.to.ID) })
}

// put queues a frame. As in gossip's driver, what does not fit is dropped.
func (s *stream) put(p parcel) {
	w := s.from.w
	if s.lost+len(s.frames) >= gossip.QueueFrames {
		w.Dropped++
		return
	}
	if !s.open {
		s.frames = append(s.frames, frame{parcel: p})
		return
	}
	w.count(p)
	lat := w.Latency(s.from, s.to)
	ready := w.now.Add(lat + w.lossDelay(2*lat) + s.from.busy() + s.to.busy())
	if ready.Before(s.last) {
		ready = s.last
	}
	s.last = ready
	s.frames = append(s.frames, frame{p, ready})
	w.At(ready, s.pump)
}

// pump delivers what has arrived, in order. A cut holds it up.
func (s *stream) pump() {
	w := s.from.w
	for len(s.frames) > 0 && !s.frames[0].ready.After(w.now) {
		if s.closed || !s.to.up || s.to.life != s.toLife {
			s.lost += len(s.frames)
			s.frames = nil
			return
		}
		if w.cut(s.from, s.to) {
			s.holdUp()
			return
		}
		s.stuck = time.Time{}
		msg := s.frames[0].msg
		s.frames[0] = frame{}
		if s.frames = s.frames[1:]; len(s.frames) == 0 {
			s.frames = nil // a burst has needed much room, on each of very many streams
		}
		s.deliver(msg)
	}
}

func (s *stream) holdUp() {
	w := s.from.w
	if s.stuck.IsZero() {
		s.stuck = w.now
	}
	if w.now.Sub(s.stuck) > heldUp {
		s.broke()
		s.to.input(func() { s.to.m.Closed(w.now, s.from.ID) })
		return
	}
	if !s.retrying {
		s.retrying = true
		w.After(pumpEvery, func() {
			s.retrying = false
			s.pump()
		})
	}
}

func (s *stream) deliver(msg gossip.Message) {
	w, from, to := s.from.w, s.from.ID, s.to
	if w.Trace != nil {
		w.Trace(s.from, s.to, msg)
	}
	to.input(func() { to.m.Receive(w.now, from, msg) })
}

func (n *Node) closeStream(id peer.ID) {
	s := n.streams[id]
	if s == nil {
		return
	}
	delete(n.streams, id)
	s.closed = true
	to := s.to
	n.w.After(n.w.Latency(n, to), func() {
		to.input(func() { to.m.Closed(n.w.now, n.ID) })
	})
}
