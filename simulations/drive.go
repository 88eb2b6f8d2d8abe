package simulations

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
)

// Input gives the machine one input, and does what it wants done. It does nothing at a node that is not up, and
// waits at one that is paused.
func (n *Node) Input(f func(now time.Time, m *gossip.Machine)) {
	n.input(func() { f(n.w.now, n.m) })
}

func (n *Node) input(f func()) {
	switch {
	case !n.up:
	case n.paused:
		n.held = append(n.held, f)
	case n.Busy > 0:
		n.wait(f)
	default:
		n.act(f)
	}
}

// busy is how long a frame waits in a busy node beside its machine: two turns, for the socket and the stream.
func (n *Node) busy() time.Duration {
	if n.Busy == 0 {
		return 0
	}
	return time.Duration(n.w.Rand.Int64N(int64(n.Busy)) + n.w.Rand.Int64N(int64(n.Busy)))
}

// wait does something at a busy node's next turn.
func (n *Node) wait(f func()) {
	if !n.turn.After(n.w.now) {
		n.turn = n.w.now.Add(time.Duration(n.w.Rand.Int64N(int64(n.Busy))) + 1)
	}
	life := n.life
	n.w.At(n.turn, func() {
		if n.life == life {
			n.act(f)
		}
	})
}

func (n *Node) act(f func()) {
	f()
	n.dispatch(n.m.Take())
	n.schedule()
}

// schedule sees to a tick at the machine's next deadline.
func (n *Node) schedule() {
	next := n.m.Next()
	if next.IsZero() || !n.wakeAt.IsZero() && !n.wakeAt.After(next) && n.wakeAt.After(n.w.now) {
		return
	}
	n.wakeAt = next
	life := n.life
	n.w.At(next, func() {
		if n.life == life && n.wakeAt.Equal(next) {
			n.wakeAt = time.Time{}
			n.input(func() { n.m.Tick(n.w.now) })
		}
	})
}

// dispatch does what the machine wants done, in the order that gossip's driver keeps to.
func (n *Node) dispatch(out gossip.Output) {
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
			n.Send(n.m.Hello(), info.ID)
		} else {
			n.stream(info.ID)
		}
	}
	for _, s := range out.Sends {
		n.bent(s.Message, s.To)
	}
	for _, info := range out.Redials {
		n.redial(info.ID)
	}
	for _, e := range out.Events {
		n.told(e)
	}
}

func (n *Node) bent(m gossip.Message, to []peer.ID) {
	if n.Bend != nil {
		if m = n.Bend(m); m == nil {
			return
		}
	}
	n.Send(m, to...)
}

// Send sends a message beside the machine, as a liar does: it goes through the wire, once for all its receivers.
func (n *Node) Send(m gossip.Message, to ...peer.ID) {
	n.w.certified(m)
	p := n.w.pack(m)
	for _, id := range to {
		if s := n.stream(id); s != nil {
			s.put(p)
		}
	}
}

// parcel is a message that has been through the wire.
type parcel struct {
	msg  gossip.Message
	size int
	kind string
}

func (w *World) pack(m gossip.Message) parcel {
	if size, ok := w.known(m); ok {
		return parcel{m, size, kindOf(m)}
	}
	data := encode(m)
	msg, err := gossip.Decode(data)
	if err != nil {
		panic(fmt.Sprintf("simulations: what a machine sends is not taken: %T: %v", m, err))
	}
	if push, ok := msg.(*gossip.Push); ok {
		for _, d := range push.Deaths {
			w.decoded[d.Certificate] = len(encode(&gossip.Push{Deaths: []gossip.Death{d}}))
		}
	}
	return parcel{msg, len(data), kindOf(m)}
}

func encode(m gossip.Message) []byte {
	data, err := gossip.Encode(m, Cell)
	if err != nil {
		panic(fmt.Sprintf("simulations: %T has no encoding: %v", m, err))
	}
	return data
}

// known returns the size of a message of certificates that have all been through the wire before, or of word of them. It is
// handed on as it is: ten thousand members would each keep a copy of their own of thousands of certificates. The size is that
// of frames of one certificate each.
func (w *World) known(m gossip.Message) (size int, ok bool) {
	switch m := m.(type) {
	case *gossip.Have:
		return len(encode(&gossip.Have{Deaths: m.Deaths[:1]})) * len(m.Deaths), true
	case *gossip.Push:
		for _, d := range m.Deaths {
			if w.decoded[d.Certificate] == 0 {
				return 0, false
			}
			size += w.decoded[d.Certificate]
		}
		return size, len(m.Deaths) > 0 && len(m.Records) == 0 && m.Trust == nil
	}
	return 0, false
}

// redial tries a fresh connection, which proves life by an exchange of its own.
func (n *Node) redial(id peer.ID) {
	w, to, life := n.w, n.w.byID[id], n.life
	n.Dials[id]++
	w.Redials++
	rtt := w.Latency(n, to) + w.Latency(to, n)
	took := 2*rtt + w.lossDelay(rtt)
	w.After(took, func() {
		ok := to.up && !to.paused && w.reach(n, to) && took < gossip.RedialTimeout
		wait := time.Duration(0)
		if !ok {
			wait = gossip.RedialTimeout
		}
		w.After(wait, func() {
			if n.life == life {
				n.input(func() { n.m.Redialled(w.now, id, ok) })
			}
		})
	})
}
