package gossip

import (
	"strings"
	"sync"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
)

// Count is a number of frames and their size.
type Count struct{ Frames, Bytes uint64 }

// Traffic is what one Gossip has exchanged since it began, by kind of frame: "ping", "ack", "push" and so on.
type Traffic struct{ Sent, Received map[string]Count }

// traffic counts frames. Its methods may be called by many goroutines.
type traffic struct {
	mu             sync.Mutex
	sent, received map[string]Count
}

func (t *traffic) count(to *map[string]Count, kind string, frames, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *to == nil {
		*to = make(map[string]Count)
	}
	c := (*to)[kind]
	(*to)[kind] = Count{c.Frames + uint64(frames), c.Bytes + uint64(frames*size)}
}

// kindOf names what a frame carries.
func kindOf(f *pb.Frame) string {
	body := f.ProtoReflect().WhichOneof(f.ProtoReflect().Descriptor().Oneofs().Get(0))
	if body == nil {
		return "unknown"
	}
	return strings.ToLower(string(body.Name()))
}

// Traffic returns what has been exchanged so far, queued frames included.
func (g *Gossip) Traffic() Traffic {
	g.traffic.mu.Lock()
	defer g.traffic.mu.Unlock()
	out := Traffic{Sent: make(map[string]Count), Received: make(map[string]Count)}
	for kind, c := range g.traffic.sent {
		out.Sent[kind] = c
	}
	for kind, c := range g.traffic.received {
		out.Received[kind] = c
	}
	return out
}

// Health is Lifeguard's local health score: 0 is well, and each step makes this member more patient with others.
func (g *Gossip) Health() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.machine.local.health
}
