// Package overlay is the node: it builds the one libp2p host of a process, joins the DHT on it and gossip for every
// cell that it serves, listens for clients over cell/1, announces, finds and watches. It is what runs beside an
// instance (cmd/cellnode run), inside a Go service (Listen), and inside a client that has no daemon
// (overlay/embed).
package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/dht"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/overlay/punch"
)

// A Node is a running member of the network. Its methods may be called by any number of goroutines.
type Node struct {
	cfg      Config
	log      *slog.Logger
	identity *link.Identity
	sockets  *sockets
	host     host.Host
	// reachable says which addresses others have confirmed.
	reachable *reachable
	punch     atomic.Pointer[punch.Puncher] // nil where there is no NAT to cross; the host asks while it is being made
	dht       *dht.DHT                      // nil with Config.NoDHT
	server    *link.Server
	dialer    *link.Dialer
	lan       *lan // nil without Config.MDNS
	started   time.Time
	events    eventLog
	meters    *meters

	ctx    context.Context // ends with Close; for what the node does by itself
	cancel context.CancelFunc
	wg     sync.WaitGroup

	live live // what can change while the node runs

	mu       sync.Mutex
	serving  map[cid.Cid]*Instance
	trackers map[string]*tracked
	closed   bool
	closing  sync.Once
	closeErr error
}

// New builds a node and returns it when it listens and has begun to join the network; it does not wait for any
// other node. ctx bounds this call alone. If New fails, nothing of it is left running.
func New(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, started: time.Now(),
		serving: map[cid.Cid]*Instance{}, trackers: map[string]*tracked{},
	}
	n.live.set(Settings{Bootstrap: cfg.Bootstrap, Advertise: cfg.Advertise})
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.identity, err = link.NewIdentity(cfg.Key); err != nil {
		return nil, err
	}
	if n.meters, err = newMeters(n); err != nil {
		return nil, err
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	if n.reachable, err = followReachable(n.host); err != nil {
		return nil, err
	}
	if err := n.startPunching(); err != nil {
		return nil, err
	}
	if cfg.MDNS { // it is there before the DHT asks for entry points
		n.lan = newLAN(n.ID(), n.foundOnLAN)
	}
	if err := n.joinDHT(ctx); err != nil {
		return nil, err
	}
	if n.lan != nil {
		if err := n.startLAN(); err != nil { // as in a container: the other ways remain
			n.sockets.notes = append(n.sockets.notes, err.Error())
		}
	}
	n.wg.Go(n.evictIdle)
	for _, note := range n.sockets.notes {
		n.log.Warn(note)
	}
	n.log.Info("node is up", "peer", n.ID(), "listen", n.Listening())
	return n, nil
}

// listen binds the sockets, builds the host on them and serves cell/1 beside it.
func (n *Node) listen() (err error) {
	packet := n.cfg.ListenPacket
	if packet == nil {
		packet = func(network string, laddr *net.UDPAddr) (net.PacketConn, error) { return net.ListenUDP(network, laddr) }
	}
	if n.sockets, err = bind(n.cfg.Listen, packet); err != nil {
		return err
	}
	dialer := link.DialerConfig{Identity: n.identity, Warm: find.Warm, DialNode: n.Stream, Log: n.log}
	if n.cfg.ListenPacket != nil { // a virtual network: UDP alone, and the other nodes of this process are not us
		dialer.ListenPacket, dialer.NoTCP, dialer.Budget = n.cfg.DialPacket, true, link.NewBudget()
	}
	if n.dialer, err = link.NewDialer(dialer); err != nil {
		return err
	}
	if n.server, err = link.NewServer(link.ServerConfig{Identity: n.identity, Handler: (*handler)(n), Log: n.log}); err != nil {
		return err
	}
	quic, err := n.buildHost(packet)
	if err != nil {
		return err
	}
	for _, l := range quic {
		n.server.ServeQUIC(l)
	}
	for _, l := range n.sockets.tcp {
		n.server.ServeTCP(l)
	}
	return nil
}

func (n *Node) joinDHT(ctx context.Context) (err error) {
	if n.cfg.NoDHT {
		return nil
	}
	n.dht, err = dht.New(ctx, dht.Config{
		Host: n.host, Bootstrap: n.entryPoints, Server: n.listensUDP(), Public: n.public(), Amino: n.cfg.Amino,
		Lean: n.cfg.Lean, Log: n.log,
	})
	return err
}

func (n *Node) listensUDP() bool {
	for _, l := range n.sockets.bound {
		if l.udp {
			return true
		}
	}
	return false
}

// public reports whether the node has an address in the open Internet, where many peers from one network are a
// sign of an attack; on a LAN or on one machine they are the rule.
func (n *Node) public() bool {
	for _, a := range n.host.Addrs() {
		if isPublic(a) {
			return true
		}
	}
	return false
}

// entryPoints are the peers through which the node joins: those configured, the seeds of entry cells and of the cells it
// serves, and neighbours.
func (n *Node) entryPoints() []peer.AddrInfo {
	s := n.live.get()
	list := slices.Concat(s.Bootstrap, seedInfos(s.Seeds, ""))
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, i := range n.serving {
		if i != nil {
			list = append(list, i.seedInfos()...)
		}
	}
	if n.lan != nil {
		list = append(list, n.lan.peers()...)
	}
	return list
}

// DHTPeers returns the number of nodes that the DHT knows; 0 without one.
func (n *Node) DHTPeers() int {
	if n.dht == nil {
		return 0
	}
	return n.dht.Size()
}

// ID returns the node's peer ID.
func (n *Node) ID() peer.ID { return n.host.ID() }

// Host returns the libp2p host, which the node owns.
func (n *Node) Host() host.Host { return n.host }

// Listening returns what the node is bound to.
func (n *Node) Listening() []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, l := range n.sockets.bound {
		list = append(list, l.multiaddr())
	}
	return list
}

// Notes returns what a person who runs the node should know, a line each.
func (n *Node) Notes() []string {
	notes := slices.Concat(n.sockets.notes, n.live.get().Notes, n.twinNotes(), n.grantNotes())
	if len(n.cfg.Listen) > 0 && !n.listensUDP() {
		notes = append(notes, "no UDP address: the DHT and gossip reach others only outwards, and clients find this node by seed lists alone; add /ip4/0.0.0.0/udp/40000/quic-v1 to listen (and `sudo ufw allow 40000/udp`)")
	}
	return notes
}

// Leave says goodbye for every instance and returns when that has been handed to the neighbours, or when ctx ends.
// Connections that are open stay so until Close.
func (n *Node) Leave(ctx context.Context) error {
	var errs []error
	for _, i := range n.instances() {
		errs = append(errs, i.Leave(ctx))
	}
	return errors.Join(errs...)
}

func (n *Node) instances() []*Instance {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*Instance, 0, len(n.serving))
	for _, i := range n.serving {
		if i != nil { // else it is still joining
			list = append(list, i)
		}
	}
	return list
}

// Close ends the node and returns when every goroutine and connection of it has ended. Without Leave before it, the
// others notice as they would a crash. It may be called more than once.
func (n *Node) Close() error {
	n.closing.Do(func() { n.closeErr = n.close() })
	return n.closeErr
}

func (n *Node) close() error {
	n.mu.Lock()
	n.closed = true
	trackers := n.trackers
	n.trackers = nil
	n.mu.Unlock()
	n.cancel()
	for _, t := range trackers {
		t.Close()
	}
	for _, i := range n.instances() {
		i.Close()
	}
	var errs []error
	if n.lan != nil {
		errs = append(errs, n.lan.Close())
	}
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	n.wg.Wait()
	if n.dht != nil {
		errs = append(errs, n.dht.Close())
	}
	if n.dialer != nil {
		errs = append(errs, n.dialer.Close())
	}
	if p := n.punch.Load(); p != nil {
		errs = append(errs, p.Close())
	}
	if n.reachable != nil {
		errs = append(errs, n.reachable.close())
	}
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	if n.sockets != nil {
		n.sockets.close()
	}
	return errors.Join(errs...)
}

// errClosed is returned by calls to a node that has been closed.
var errClosed = errors.New("overlay: the node is closed")

// foundOnLAN takes a peer that mDNS has named: it may be an instance of any cell that we serve or look for.
func (n *Node) foundOnLAN(p peer.AddrInfo) {
	for _, i := range n.instances() {
		i.gossip.Join([]peer.AddrInfo{p})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.trackers {
		t.Found(lanCandidate(p))
	}
}

func (n *Node) String() string { return fmt.Sprintf("node %s", n.ID()) }
