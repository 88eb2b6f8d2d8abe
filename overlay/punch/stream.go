package punch

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Conn is a libp2p stream as a net.Conn, for TLS to run on.
func Conn(s network.Stream) net.Conn { return &stream{Stream: s} }

type stream struct {
	network.Stream
	wmu    sync.Mutex // held by Write: QUIC forbids Close beside it
	closed atomic.Bool
	abort  atomic.Bool
}

func (s *stream) LocalAddr() net.Addr  { return netAddr(s.Conn().LocalMultiaddr()) }
func (s *stream) RemoteAddr() net.Addr { return netAddr(s.Conn().RemoteMultiaddr()) }

func netAddr(a ma.Multiaddr) net.Addr {
	addr, err := manet.ToNetAddr(a)
	if err != nil {
		return &net.UDPAddr{}
	}
	return addr
}

// Read reads; after our own Close it says so.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if err != nil && s.closed.Load() {
		err = net.ErrClosed
	}
	return n, err
}

// Write writes; after our own Close it says so.
func (s *stream) Write(b []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := s.Stream.Write(b)
	if err != nil && s.closed.Load() {
		err = net.ErrClosed
	}
	return n, err
}

// SetLinger, with 0, makes Close a reset, as it does on a TCP connection.
func (s *stream) SetLinger(sec int) error {
	s.abort.Store(sec == 0)
	return nil
}

// Close ends both directions. What was written still arrives, unless a Write is under way or SetLinger says otherwise.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if s.abort.Load() || !s.wmu.TryLock() {
		return s.Stream.Reset()
	}
	defer s.wmu.Unlock()
	return s.Stream.Close()
}

// accept takes a stream that a peer has opened, unless it comes through a relay.
func (p *Puncher) accept(s network.Stream) {
	if s.Conn().Stat().Limited || isCircuit(s.Conn().RemoteMultiaddr()) {
		p.log.Warn("a stream through a relay was refused", "peer", s.Conn().RemotePeer())
		_ = s.Reset()
		return
	}
	select {
	case p.conns <- Conn(s):
	case <-p.ctx.Done():
		_ = s.Reset()
	}
}

// Listener returns where the streams of others arrive. It ends with Close, the Puncher's or its own.
func (p *Puncher) Listener() net.Listener { return &listener{p: p, done: make(chan struct{})} }

type listener struct {
	p    *Puncher
	once sync.Once
	done chan struct{}
}

// Accept returns the next stream.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.p.conns:
		return c, nil
	case <-l.p.ctx.Done():
	case <-l.done:
	}
	return nil, net.ErrClosed
}

// Addr names the host.
func (l *listener) Addr() net.Addr { return addr(l.p.host.ID().String()) }

// Close ends Accept.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

type addr string

func (addr) Network() string  { return "libp2p" }
func (a addr) String() string { return string(a) }
