package link

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxWarmPerPeer = 2
	maxWarm        = 256 // in all
)

// warmTLS keeps TCP connections, and streams of a node, that were probed and not opened. Each is handed over once.
type warmTLS struct {
	mu    sync.Mutex
	conns map[peer.ID][]*warmConn
	total int
}

type warmConn struct {
	*Conn
	timer *time.Timer
}

// put keeps a connection for a time, or closes it if there are too many.
func (w *warmTLS) put(c *Conn, keep time.Duration) {
	w.mu.Lock()
	if w.total >= maxWarm || len(w.conns[c.peer]) >= maxWarmPerPeer {
		w.mu.Unlock()
		c.Close()
		return
	}
	if w.conns == nil {
		w.conns = map[peer.ID][]*warmConn{}
	}
	k := &warmConn{Conn: c}
	k.timer = time.AfterFunc(keep, func() {
		if w.remove(k) {
			k.Close()
		}
	})
	w.conns[c.peer] = append(w.conns[c.peer], k)
	w.total++
	w.mu.Unlock()
}

// take returns the connection to a peer that was used last, or nil.
func (w *warmTLS) take(id peer.ID) *Conn {
	w.mu.Lock()
	list := w.conns[id]
	w.mu.Unlock()
	for i := len(list) - 1; i >= 0; i-- {
		if w.remove(list[i]) {
			list[i].timer.Stop()
			return list[i].Conn
		}
	}
	return nil
}

// remove reports whether the connection was still there: then it is the caller's.
func (w *warmTLS) remove(k *warmConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range w.conns[k.peer] {
		if c != k {
			continue
		}
		w.total--
		rest := append([]*warmConn(nil), w.conns[k.peer][:i]...)
		if rest = append(rest, w.conns[k.peer][i+1:]...); len(rest) > 0 {
			w.conns[k.peer] = rest
		} else {
			delete(w.conns, k.peer)
		}
		return true
	}
	return false
}

func (w *warmTLS) close() {
	w.mu.Lock()
	conns := w.conns
	w.conns, w.total = nil, 0
	w.mu.Unlock()
	for _, list := range conns {
		for _, k := range list {
			k.timer.Stop()
			k.Close()
		}
	}
}
