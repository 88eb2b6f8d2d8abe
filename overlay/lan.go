package overlay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

// What stands in the packets: that of libp2p's discovery/mdns.md, under a name of our own (RFC 6763, section 7).
const (
	lanService = "_cellnode._udp"
	lanDomain  = "local"
	lanPort    = 4001 // there must be one, and nobody reads it: the addresses stand in the texts
	lanText    = "dnsaddr="
)

const (
	// maxLANPeers bounds what is remembered of a LAN.
	maxLANPeers = 256

	// lanAnswers is how long the first answers may take: a Wi-Fi keeps multicast back for up to 300 ms in each direction.
	lanAnswers = time.Second
)

// lan finds nodes on the local network by multicast DNS. What it names is a hint like any other. libp2p's own service cannot
// look without being found itself, and on a machine without IPv6 its Close never returns.
type lan struct {
	self   peer.ID
	each   func(peer.AddrInfo)
	browse browser

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	heard  context.Context  // ends when the first answers have had their time, or when there will be none
	server *zeroconf.Server // nil where nobody is to find us

	mu      sync.Mutex
	known   map[peer.ID]neighbour
	changed chan struct{} // closed and replaced when there is a new one
	err     error         // why nobody can be looked for
}

// browser is zeroconf.Browse.
type browser func(ctx context.Context, service, domain string, entries chan<- *zeroconf.ServiceEntry, opts ...zeroconf.ClientOption) error

// neighbour is a node of the local network.
type neighbour struct {
	peer.AddrInfo
	seen time.Time
}

// newLAN returns one that does nothing yet, see start. It calls each for every peer that is new, or has a new address.
func newLAN(self peer.ID, each func(peer.AddrInfo)) *lan {
	l := &lan{self: self, each: each, browse: zeroconf.Browse, known: map[peer.ID]neighbour{}, changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// startLAN looks for neighbours, and lets them find a node that listens. A client's own node only looks, although it may have
// a socket to punch holes with: its key is thrown away with it.
func (n *Node) startLAN() error {
	n.lan.start()
	if !n.listensUDP() {
		return nil
	}
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err == nil {
		err = n.lan.advertise(cellAddrs(addrs))
	}
	if err != nil {
		return fmt.Errorf("not found on the local network by mDNS: %w (mdns = false in config.toml says that this is meant)", err)
	}
	return nil
}

// advertise lets others find us at the addresses.
func (l *lan) advertise(addrs []ma.Multiaddr) (err error) {
	var texts, ips []string
	has := map[bool]bool{}
	for _, a := range addrs {
		texts = append(texts, lanText+a.String()+"/p2p/"+l.self.String())
		ip, err := manet.ToIP(a)
		if err != nil {
			continue
		}
		if v4 := ip.To4() != nil; !has[v4] { // one of each version, for routers that want to see some
			has[v4], ips = true, append(ips, ip.String())
		}
	}
	if len(ips) == 0 {
		return errors.New("the node has no IP address")
	}
	name := strings.ToLower(rand.Text() + rand.Text())
	l.server, err = zeroconf.RegisterProxy(name, lanService, lanDomain, lanPort, name, ips, texts, nil)
	return err
}

// start begins to look.
func (l *lan) start() {
	heard, stop := context.WithTimeout(l.ctx, lanAnswers)
	l.heard = heard
	l.wg.Go(func() {
		defer stop()
		err := l.look()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.err = err
	})
}

// look takes what others say until Close. zeroconf wants every version of IP that it is told to use, so one that the machine
// does not have is left out.
func (l *lan) look() error {
	var first error
	for _, version := range []zeroconf.IPType{zeroconf.IPv4AndIPv6, zeroconf.IPv4, zeroconf.IPv6} {
		err := l.lookBy(version)
		if l.ctx.Err() != nil {
			return errClosed
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("could not be started: %w", first)
}

func (l *lan) lookBy(version zeroconf.IPType) error {
	entries, ended := make(chan *zeroconf.ServiceEntry), make(chan error, 1)
	l.wg.Go(func() { ended <- l.browse(l.ctx, lanService, lanDomain, entries, zeroconf.SelectIPTraffic(version)) })
	for {
		select {
		case e, open := <-entries:
			if !open {
				return <-ended
			}
			l.take(e.Text)
		case err := <-ended:
			return err
		}
	}
}

// take takes what a node says of itself.
func (l *lan) take(texts []string) {
	for _, p := range peersIn(texts) {
		if p.ID != l.self && l.see(p, time.Now()) {
			l.each(p)
		}
	}
}

// peersIn reads texts as libp2p does: what is no address is passed over, and one that names no peer spoils them all.
func peersIn(texts []string) []peer.AddrInfo {
	var addrs []ma.Multiaddr
	for _, text := range texts {
		text, ours := strings.CutPrefix(text, lanText)
		if a, err := ma.NewMultiaddr(text); ours && err == nil {
			addrs = append(addrs, a)
		}
	}
	peers, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil
	}
	return peers
}

// see remembers a peer, instead of the one seen longest ago if there are too many, and reports whether it or one of its
// addresses is new.
func (l *lan) see(p peer.AddrInfo, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.known[p.ID]
	if !known && len(l.known) >= maxLANPeers {
		l.forgetLocked()
	}
	l.known[p.ID] = neighbour{p, now}
	if known && !slices.ContainsFunc(p.Addrs, func(a ma.Multiaddr) bool { return !ma.Contains(before.Addrs, a) }) {
		return false
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// forgetLocked forgets the peer seen longest ago. zeroconf names one that lives again every 53 minutes, when its records
// have expired.
func (l *lan) forgetLocked() {
	var oldest neighbour
	for _, p := range l.known {
		if oldest.ID == "" || p.seen.Before(oldest.seen) {
			oldest = p
		}
	}
	delete(l.known, oldest.ID)
}

func (l *lan) peers() []peer.AddrInfo {
	list, _, _ := l.state()
	return list
}

// state returns who is known, a channel that is closed when there are more, and why nobody can be looked for.
func (l *lan) state() (list []peer.AddrInfo, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list = make([]peer.AddrInfo, 0, len(l.known))
	for _, p := range l.known {
		list = append(list, p.AddrInfo)
	}
	return list, l.changed, l.err
}

// way names the neighbours, those who answer within a second of the start included.
func (l *lan) way(ctx context.Context, sink find.Sink) error {
	named := map[peer.ID]bool{}
	for {
		over := l.heard.Err() != nil
		list, changed, err := l.state()
		for _, p := range list {
			if !named[p.ID] {
				named[p.ID] = true
				sink.Found(lanCandidate(p))
			}
		}
		if over {
			return err
		}
		select {
		case <-changed:
		case <-l.heard.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func lanCandidate(p peer.AddrInfo) find.Candidate {
	return find.Candidate{Peer: p.ID, Addrs: cellAddrs(p.Addrs), Way: find.MDNS, Trusted: true}
}

// awaitNeighbour gives a node that has just started, and knows nobody else whom it could ask, the time to hear of a neighbour.
func (n *Node) awaitNeighbour(ctx context.Context, seeds []manifest.Seed) {
	if n.lan == nil || n.cfg.Amino || len(seeds) > 0 || n.DHTPeers() > 0 || len(n.entryPoints()) > 0 {
		return
	}
	list, changed, _ := n.lan.state()
	if len(list) > 0 {
		return
	}
	select {
	case <-changed:
	case <-n.lan.heard.Done():
	case <-ctx.Done():
	}
}

// Close stops looking and answering.
func (l *lan) Close() error {
	l.cancel()
	if l.server != nil {
		l.server.Shutdown()
	}
	l.wg.Wait()
	return nil
}
