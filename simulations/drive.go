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
	default:
		f()
		n.dispatch(n.m.Take())
		n.schedule()
	}
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
	p := pack(m)
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

func pack(m gossip.Message) parcel {
	data, err := gossip.Encode(m, Cell)
	if err != nil {
		panic(fmt.Sprintf("simulations: %T has no encoding: %v", m, err))
	}
	msg, err := gossip.Decode(data)
	if err != nil {
		panic(fmt.Sprintf("simulations: what a machine sends is not taken: %T: %v", m, err))
	}
	return parcel{msg, len(data), kindOf(m)}
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
