package simulations

import (
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
)

// Counters is what a World has counted since it began.
type Counters struct {
	// Traffic is what went onto streams, by kind of frame: frames, and bytes of payload with their length, without what
	// QUIC and IP add.
	Traffic map[string]gossip.Count
	// Redials is how many fresh connections were tried beside the streams.
	Redials int
	// Dropped is how many frames did not fit into a stream's queue.
	Dropped int
	// Certificates is how many different ones were sent, of any worth. False are those among them against the very
	// record by which a node that runs, and is not paused, was known at that moment.
	Certificates, False int
	// CertificateBytes is the size of the largest frame that held one certificate and nothing else.
	CertificateBytes int
	// FalseDeaths counts those dropped from a list although they lived, once for each list. Liars do not count, neither
	// as those who are lost nor for what is on their lists: they are shut out now and then, and have themselves to thank.
	FalseDeaths int
}

// Sum adds up some kinds of frame; none: all.
func (c *Counters) Sum(kinds ...string) gossip.Count {
	var sum gossip.Count
	for kind, n := range c.Traffic {
		if len(kinds) == 0 || strings.Contains(" "+strings.Join(kinds, " ")+" ", " "+kind+" ") {
			sum.Frames += n.Frames
			sum.Bytes += n.Bytes
		}
	}
	return sum
}

func (w *World) count(p parcel) {
	c := w.Traffic[p.kind]
	w.Traffic[p.kind] = gossip.Count{Frames: c.Frames + 1, Bytes: c.Bytes + uint64(p.size)}
}

// kindOf names a message as gossip.Traffic does.
func kindOf(m gossip.Message) string {
	switch m.(type) {
	case *gossip.Hello:
		return "hello"
	case *gossip.Ping:
		return "ping"
	case *gossip.Ack:
		return "ack"
	case *gossip.Push:
		return "push"
	case *gossip.Ask:
		return "ask"
	case *gossip.Answer:
		return "answer"
	case *gossip.Root:
		return "root"
	case *gossip.Buckets:
		return "buckets"
	case *gossip.IDs:
		return "ids"
	case *gossip.Want:
		return "want"
	case *gossip.Have:
		return "have"
	}
	return "unknown"
}

// shown is what a certificate says.
type shown struct {
	subject peer.ID
	version gossip.Version
}

// certified counts the certificates in a message that nobody has sent before.
func (w *World) certified(m gossip.Message) {
	push, ok := m.(*gossip.Push)
	if !ok || len(push.Deaths) == 0 {
		return
	}
	for _, d := range push.Deaths {
		key := shown{d.Certificate.Subject, d.Certificate.Version}
		if w.shown[key] {
			continue
		}
		w.shown[key] = true
		w.Certificates++
		if o := w.byID[key.subject]; o != nil && o.Present() && !o.paused && o.version() == key.version {
			w.False++
		}
		if data, err := gossip.Encode(&gossip.Push{Deaths: []gossip.Death{d}}, Cell); err == nil {
			w.CertificateBytes = max(w.CertificateBytes, len(data))
		}
	}
}

func (n *Node) version() gossip.Version {
	own := n.m.Self()
	return gossip.Version{Incarnation: own.Incarnation, Seq: own.Seq}
}
