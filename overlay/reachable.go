package overlay

import (
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
)

// reachable follows which of the host's addresses others have reached from outside (AutoNAT v2, which asks several of
// them to dial back).
type reachable struct {
	sub event.Subscription
	wg  sync.WaitGroup

	mu    sync.Mutex
	addrs []ma.Multiaddr
}

func followReachable(h host.Host) (*reachable, error) {
	sub, err := h.EventBus().Subscribe(new(event.EvtHostReachableAddrsChanged), eventbus.Name("overlay"))
	if err != nil {
		return nil, fmt.Errorf("overlay: %w", err)
	}
	r := &reachable{sub: sub}
	r.wg.Go(func() {
		for e := range sub.Out() {
			r.mu.Lock()
			r.addrs = e.(event.EvtHostReachableAddrsChanged).Reachable
			r.mu.Unlock()
		}
	})
	return r, nil
}

// covers reports whether every public QUIC address among addrs has been reached from outside, and there is one.
// Others are not tried by anybody: those of a LAN are reached there or nowhere.
func (r *reachable) covers(addrs []ma.Multiaddr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	confirmed := false
	for _, a := range cellAddrs(addrs) {
		if !isPublic(a) {
			continue
		}
		if !slices.ContainsFunc(r.addrs, a.Equal) {
			return false
		}
		confirmed = true
	}
	return confirmed
}

func (r *reachable) close() error {
	err := r.sub.Close()
	r.wg.Wait()
	return err
}
