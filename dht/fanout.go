package dht

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// fanout calls do once for each peer that it is given, rpcParallel at a time, and counts how often do said yes. Peers
// may be given from several goroutines and more than once.
type fanout struct {
	do func(peer.ID) bool

	slots chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	given map[peer.ID]bool
	yes   []peer.ID
}

func newFanout(self peer.ID, do func(peer.ID) bool) *fanout {
	return &fanout{do: do, slots: make(chan struct{}, rpcParallel), given: map[peer.ID]bool{self: true}}
}

func (f *fanout) to(peers ...peer.ID) {
	for _, p := range peers {
		if !f.claim(p) {
			continue
		}
		f.wg.Go(func() {
			f.slots <- struct{}{}
			defer func() { <-f.slots }()
			if f.do(p) {
				f.mu.Lock()
				f.yes = append(f.yes, p)
				f.mu.Unlock()
			}
		})
	}
}

func (f *fanout) claim(p peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.given[p] {
		return false
	}
	f.given[p] = true
	return true
}

// wait returns those for which do said yes, in the order of their answers, once all calls have returned. Nothing may be
// given while it waits.
func (f *fanout) wait() []peer.ID {
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.yes
}
