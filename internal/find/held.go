package find

import (
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// stream is what a Dialer opens: link.Conn.
type stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// held are the connections that a Tracker has opened, by instance. When an instance is dead – others have watched it
// fail, and our own probe fails too – they are reset: over UDP nothing else tells a caller that it waits for nobody,
// until QUIC's idle timeout many seconds later.
type held struct {
	mu    sync.Mutex
	conns map[peer.ID]map[*heldStream]bool
}

// heldStream takes itself off the list when it is closed.
type heldStream struct {
	stream
	release func()
}

// Close closes the connection.
func (s *heldStream) Close() error {
	s.release()
	return s.stream.Close()
}

func (h *held) add(id peer.ID, c stream) net.Conn {
	s := &heldStream{stream: c}
	s.release = sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.conns[id], s)
		if len(h.conns[id]) == 0 {
			delete(h.conns, id)
		}
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns == nil {
		h.conns = map[peer.ID]map[*heldStream]bool{}
	}
	if h.conns[id] == nil {
		h.conns[id] = map[*heldStream]bool{}
	}
	h.conns[id][s] = true
	return s
}

// reset ends every connection to an instance that is dead.
func (h *held) reset(id peer.ID) {
	h.mu.Lock()
	var list []*heldStream
	for s := range h.conns[id] {
		list = append(list, s)
	}
	h.mu.Unlock()
	for _, s := range list {
		// An error says that it has ended already.
		_ = s.Reset()
	}
}
