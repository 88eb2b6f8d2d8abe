package overlay

import (
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
)

// Settings are what a running node can be told anew.
type Settings struct {
	// Bootstrap and Advertise are those of Config.
	Bootstrap []peer.AddrInfo
	Advertise []ma.Multiaddr
	// Seeds are entry points, too: instances that the repositories of entry cells name.
	Seeds []manifest.Seed
	// Notes stand in the node's status, a line each.
	Notes []string
}

// live is the present Settings. The values in it are never changed.
type live struct {
	mu  sync.Mutex
	now Settings
}

func (l *live) get() Settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *live) set(s Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
}

// Set gives the node other settings, all of them at once; the node owns them from then on. Entry points are visited at
// once, and the instances look for other members behind them; records with other addresses are made within seconds.
func (n *Node) Set(s Settings) {
	n.live.set(s)
	if n.dht != nil {
		n.dht.Revisit()
	}
	for _, i := range n.instances() {
		i.lookAround()
	}
}

// withAdvertised adds the addresses that the operator wrote to those of the host, so that the DHT and other nodes hear of
// them, too: behind a forwarded port they are the only ones that can be dialled from outside.
func (n *Node) withAdvertised(found []ma.Multiaddr) []ma.Multiaddr {
	if len(n.cfg.Listen) == 0 {
		return nil // nobody is to dial us
	}
	all := cellAddrs(n.live.get().Advertise)
	for _, a := range found {
		if !slices.ContainsFunc(all, a.Equal) {
			all = append(all, a)
		}
	}
	return append(all, n.circuits()...)
}
