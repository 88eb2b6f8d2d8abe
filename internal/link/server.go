package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"
)

// Handler is what a node supplies to a Server. Its methods are called from any number of goroutines.
type Handler interface {
	// Welcome answers a Hello, at once: the client measures the time. Any Code but CodeOK refuses it.
	Welcome(h Hello, remote peer.ID) Welcome
	// Open serves one stream, a *Conn, and returns when it is done with it; the stream is closed then, if it is not
	// yet. A stream that must not look complete is ended with Reset. ctx ends when the Server is closed.
	Open(ctx context.Context, h Hello, c net.Conn)
	// List returns the cell's instances, or NotModified if the Hello's ETag is still right.
	List(ctx context.Context, h Hello) (List, error)
	// Watch sends a full List and then each change, until ctx ends or send fails. send may be called by any
	// number of goroutines.
	Watch(ctx context.Context, h Hello, send func(List) error) error
	// Interface returns the interface of the cell's instance, serialised as manifest.InterfaceSet; empty: not stated.
	Interface(cell cid.Cid) []byte
	// Entrust takes a trust document of the cell, and says why it does not.
	Entrust(cell cid.Cid, document []byte) error
}

// ServerConfig configures a Server.
type ServerConfig struct {
	Identity *Identity // required
	Handler  Handler   // required
	// Preface is the time a client has for its Hello once it is connected; zero means 2 s. The TLS handshake before
	// it has twice that.
	Preface time.Duration
	// Idle is the time after which a stream between two Hellos, or a QUIC connection without a stream, is closed;
	// zero means 30 s. Clients keep warm connections for less.
	Idle time.Duration
	// MaxConns and MaxConnsPerIP bound the connections (per IPv4 address or IPv6 /56; loopback is exempt from the
	// second); zero means 16,384 and 4,096. Behind one address may be a whole company.
	MaxConns, MaxConnsPerIP int
	// MaxPending and MaxPendingPerIP bound those among them that have not said Hello yet; zero means 1,024 and 128.
	MaxPending, MaxPendingPerIP int
	// MaxOpen bounds the streams in Handler.Open; more are answered with CodeBusy. Zero means 16,384.
	MaxOpen int
	// MaxConnsPerPeer, MaxOpenPerPeer and MaxHellosPerPeer (a second, and twice as many at once) bound what one peer has
	// and asks for; more is answered with CodeBusy. Zero means 1,024, 4,096 and 1,000.
	MaxConnsPerPeer, MaxOpenPerPeer, MaxHellosPerPeer int
	// MaxWatches, MaxWatchesPerIP (counted as MaxConnsPerIP is) and MaxWatchesPerPeer bound the streams in Handler.Watch; more
	// are answered with CodeBusy. Zero means 4,096, 256 and 64.
	MaxWatches, MaxWatchesPerIP, MaxWatchesPerPeer int
	// Log may be nil.
	Log *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.MaxConns, 16384)
	def(&c.MaxConnsPerIP, 4096)
	def(&c.MaxPending, 1024)
	def(&c.MaxPendingPerIP, 128)
	def(&c.MaxOpen, 16384)
	def(&c.MaxConnsPerPeer, 1024)
	def(&c.MaxOpenPerPeer, 4096)
	def(&c.MaxHellosPerPeer, 1000)
	def(&c.MaxWatches, 4096)
	def(&c.MaxWatchesPerIP, 256)
	def(&c.MaxWatchesPerPeer, 64)
	if c.Preface == 0 {
		c.Preface = 2 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c ServerConfig) validate() error {
	switch {
	case c.Identity == nil:
		return errors.New("link: ServerConfig.Identity is missing")
	case c.Handler == nil:
		return errors.New("link: ServerConfig.Handler is missing")
	}
	return nil
}

// A Server answers cell/1 on any number of listeners. Close ends it.
type Server struct {
	cfg     ServerConfig
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	conns   quota
	pending quota
	watches quota
	peers   allowances
	opens   atomic.Int64 // streams in Handler.Open
	turned  turned

	mu      sync.Mutex
	closed  bool
	closers map[*func()]struct{}
	idle    chan struct{} // closed when opens falls to zero; nil unless somebody waits
}

// NewServer returns a Server without a listener.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, closers: map[*func()]struct{}{}}
	s.conns = quota{max: cfg.MaxConns, maxPerIP: cfg.MaxConnsPerIP, full: turnedConns, fullHost: turnedHost}
	s.pending = quota{max: cfg.MaxPending, maxPerIP: cfg.MaxPendingPerIP, full: turnedPending, fullHost: turnedPending}
	s.watches = quota{max: cfg.MaxWatches, maxPerIP: cfg.MaxWatchesPerIP, full: turnedWatches, fullHost: turnedHostWatches}
	s.peers = allowances{
		max:  [kinds]int{ofConns: cfg.MaxConnsPerPeer, ofCalls: cfg.MaxOpenPerPeer, ofWatches: cfg.MaxWatchesPerPeer},
		rate: cfg.MaxHellosPerPeer,
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// ServeTCP serves a TCP listener, which belongs to the Server from then on. It returns at once.
func (s *Server) ServeTCP(ln net.Listener) {
	s.run(func() { ln.Close() }, func() { s.acceptTLS(ln, TCP) })
}

// ServeNode serves the streams of Protocol that a libp2p node accepts, each as a TCP connection; who listens sees to it that
// none comes through a relay. The listener belongs to the Server from then on. ServeNode returns at once.
func (s *Server) ServeNode(ln net.Listener) {
	s.run(func() { ln.Close() }, func() { s.acceptTLS(ln, LIBP2P) })
}

// A QUICListener hands out QUIC connections whose handshake, with Identity.ServerTLS, is complete: a *quic.Listener,
// or quicreuse's listener for the ALPN cell/1 on the node's UDP port.
type QUICListener interface {
	Accept(ctx context.Context) (*quic.Conn, error)
	Close() error
	Addr() net.Addr
}

// ServeQUIC serves a QUIC listener, which belongs to the Server from then on. It returns at once.
func (s *Server) ServeQUIC(ln QUICListener) {
	s.run(func() { ln.Close() }, func() { s.acceptQUIC(ln) })
}

// Close ends every listener and connection, those in Handler.Open with an abort, and returns when every goroutine
// of the Server has ended, handlers included. It may be called more than once. Who wants the calls in hand to end
// first waits for Idle.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	closers := make([]func(), 0, len(s.closers))
	for c := range s.closers {
		closers = append(closers, *c)
	}
	s.mu.Unlock()
	// The streams go before the context: a handler that returns because of it would end them cleanly.
	for _, c := range closers {
		c()
	}
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Idle returns when no stream is in Handler.Open, or with ctx's error.
func (s *Server) Idle(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.opens.Load() == 0 {
			s.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats are counts of a Server, as of now and since its start.
type Stats struct {
	Conns, Pending, Open int
	Turned               int64 // clients turned away
}

// Stats returns the Server's counts.
func (s *Server) Stats() Stats {
	_, sum := s.turned.counts()
	return Stats{s.conns.len(), s.pending.len(), int(s.opens.Load()), sum}
}

// TurnedAway returns how many clients were turned away for what: a limit, no Hello in time, a handshake that came to nothing.
func (s *Server) TurnedAway() map[string]int64 {
	by, _ := s.turned.counts()
	return by
}

// run starts a goroutine of the Server; stop, called by Close, must make it end. It reports whether it did: a
// closed Server stops at once what it is given.
func (s *Server) run(stop func(), f func()) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		stop()
		return false
	}
	key := &stop
	s.closers[key] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		defer func() {
			s.mu.Lock()
			delete(s.closers, key)
			s.mu.Unlock()
		}()
		f()
	}()
	return true
}

// admit counts a new connection, pending at first, or turns it away.
func (s *Server) admit(remote net.Addr) (*admission, bool) {
	a := &admission{s: s, ip: hostOf(remote)}
	if reason := s.conns.take(a.ip); reason != "" {
		s.turned.add(reason)
		return nil, false
	}
	if reason := s.pending.take(a.ip); reason != "" {
		s.conns.give(a.ip)
		s.turned.add(reason)
		return nil, false
	}
	return a, true
}

// An admission is one connection's place in the quotas.
type admission struct {
	s       *Server
	ip      netip.Addr
	greeted atomic.Bool
	peer    peer.ID // once it is known
	crowded bool    // the peer has more connections than it may; set before the first Hello is read
}

// known says whose connection it is.
func (a *admission) known(id peer.ID) {
	a.peer = id
	a.crowded = a.s.peers.take(ofConns, id, time.Now()) != ""
}

// greet says that the client has said Hello.
func (a *admission) greet() {
	if !a.greeted.Swap(true) {
		a.s.pending.give(a.ip)
	}
}

func (a *admission) leave() {
	a.greet()
	if a.peer != "" && !a.crowded {
		a.s.peers.give(ofConns, a.peer)
	}
	a.s.conns.give(a.ip)
}
