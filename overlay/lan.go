package overlay

import (
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// lanService is the DNS-SD service name under which nodes find each other on a LAN (RFC 6763, section 7).
const lanService = "_cellnode._udp"

// maxLANPeers bounds what is remembered of a LAN.
const maxLANPeers = 256

// lan finds nodes on the local network by multicast DNS. What it names is a hint like any other.
type lan struct {
	service mdns.Service
	each    func(peer.AddrInfo)

	mu    sync.Mutex
	known map[peer.ID]peer.AddrInfo
}

func newLAN(h host.Host, each func(peer.AddrInfo)) (*lan, error) {
	l := &lan{each: each, known: map[peer.ID]peer.AddrInfo{}}
	l.service = mdns.NewMdnsService(h, lanService, l)
	if err := l.service.Start(); err != nil {
		return nil, fmt.Errorf("not found on the local network by mDNS: %w (mdns = false in config.toml says that this is meant)", err)
	}
	return l, nil
}

// HandlePeerFound implements mdns.Notifee.
func (l *lan) HandlePeerFound(p peer.AddrInfo) {
	l.mu.Lock()
	_, known := l.known[p.ID]
	if known || len(l.known) < maxLANPeers {
		l.known[p.ID] = p
	}
	l.mu.Unlock()
	if !known {
		l.each(p)
	}
}

func (l *lan) peers() []peer.AddrInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]peer.AddrInfo, 0, len(l.known))
	for _, p := range l.known {
		list = append(list, p)
	}
	return list
}

// Close stops listening and answering.
func (l *lan) Close() error { return l.service.Close() }
