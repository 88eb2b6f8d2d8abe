package link

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxMemory   = 4096
	rememberFor = 10 * time.Minute
)

// memory is what a Dialer knows of the paths to peers.
type memory struct {
	mu    sync.Mutex
	peers map[peer.ID]known
}

// known is what the last calls to one peer showed.
type known struct {
	host string        // that answered last; empty: none has
	rtt  time.Duration // of the last exchange
	tcp  tcpState
	born time.Time
}

// tcpState is what is known of the TCP addresses of a peer.
type tcpState uint8

const (
	tcpUntried tcpState = iota
	tcpWorks            // one took a connection, and none has failed since
	tcpFails
)

func (m *memory) get(id peer.ID) known {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fresh(id)
}

// fresh forgets after a while, so that a path that did not work gets another chance.
func (m *memory) fresh(id peer.ID) known {
	k := m.peers[id]
	if time.Since(k.born) > rememberFor {
		return known{born: time.Now()}
	}
	return k
}

func (m *memory) change(id peer.ID, f func(*known)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peers == nil || len(m.peers) >= maxMemory {
		m.peers = map[peer.ID]known{} // costs a head start, no more
	}
	k := m.fresh(id)
	f(&k)
	m.peers[id] = k
}
