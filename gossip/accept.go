package gossip

import (
	"bufio"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// acceptors hand each incoming stream to the Gossip of its cell. A host has one handler for a protocol, and several
// cells may gossip on one host, so there is one acceptor per host, for as long as a cell gossips on it.
var acceptors = acceptorSet{hosts: make(map[host.Host]*acceptor)}

type acceptorSet struct {
	mu    sync.Mutex
	hosts map[host.Host]*acceptor
}

type acceptor struct {
	mu    sync.Mutex
	cells map[cid.Cid]*Gossip
}

func (s *acceptorSet) add(h host.Host, cell cid.Cid, g *Gossip) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.hosts[h]
	if a == nil {
		a = &acceptor{cells: make(map[cid.Cid]*Gossip)}
		s.hosts[h] = a
		h.SetStreamHandler(Protocol, a.handle)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cells[cell] != nil {
		return fmt.Errorf("gossip: cell %s already gossips on this host", cell)
	}
	a.cells[cell] = g
	return nil
}

func (s *acceptorSet) remove(h host.Host, cell cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.hosts[h]
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.cells, cell)
	if len(a.cells) == 0 {
		h.RemoveStreamHandler(Protocol)
		delete(s.hosts, h)
	}
}

// handle reads a stream's first frame, which names the cell. An unknown cell is told nothing.
func (a *acceptor) handle(s network.Stream) {
	if err := s.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		s.Reset()
		return
	}
	r := bufio.NewReaderSize(s, 4<<10)
	frame, err := readFrame(r)
	if err != nil {
		s.Reset()
		return
	}
	cell, err := frameCell(frame)
	if err != nil {
		s.Reset()
		return
	}
	a.mu.Lock()
	g := a.cells[cell]
	a.mu.Unlock()
	if g == nil || s.SetReadDeadline(time.Time{}) != nil {
		s.Reset()
		return
	}
	g.serve(s, r, frame)
}
