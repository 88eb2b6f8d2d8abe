package link

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"
)

// quicConfig is the client's side. The smaller idle timeout of the two ends holds, counted from the first packet
// that stays unanswered (RFC 9000 section 10.1): a vanished instance is noticed after 15 to 22 s on a stream that
// says nothing. A keep-alive each 7 s also holds the UDP mapping of a NAT, some of which last 30 s. Connections
// without a stream are closed long before. The windows are those of libp2p, whose listener is at the other end.
func quicConfig() *quic.Config {
	return &quic.Config{
		Versions:                   []quic.Version{quic.Version1},
		MaxIdleTimeout:             15 * time.Second,
		KeepAlivePeriod:            7 * time.Second,
		HandshakeIdleTimeout:       5 * time.Second,
		MaxIncomingStreams:         -1,
		MaxIncomingUniStreams:      -1,
		MaxStreamReceiveWindow:     10 << 20,
		MaxConnectionReceiveWindow: 15 << 20,
	}
}

// quicPool keeps the QUIC connections of a Dialer, on one UDP socket for each IP version. An instance allows 256
// streams on a connection at a time, so there may be several to one peer.
type quicPool struct {
	listen func(network string) (net.PacketConn, error)

	mu      sync.Mutex
	closed  bool
	sockets map[string]*quic.Transport
	conns   map[peer.ID][]*quicConn
}

// A quicConn is one pooled connection.
type quicConn struct {
	*quic.Conn
	peer peer.ID
	end  endpoint
	idle *idleTimer
	keep atomic.Int64 // nanoseconds after the last stream
	pool *quicPool
	last atomic.Int64 // unix nanoseconds of the last Probe or List over it
}

// stream opens a stream on a connection that stands. It returns nil when there is none, or none with room.
func (p *quicPool) stream(id peer.ID) *Conn {
	p.mu.Lock()
	list := slices.Clone(p.conns[id])
	p.mu.Unlock()
	for _, qc := range list {
		if c := qc.open(); c != nil {
			return c
		}
	}
	return nil
}

func (qc *quicConn) open() *Conn {
	if qc.Context().Err() != nil || !qc.idle.add() {
		return nil
	}
	s, err := qc.OpenStream()
	if err != nil {
		qc.idle.done(time.Duration(qc.keep.Load()))
		return nil
	}
	st := &quicStream{Stream: s, conn: qc.Conn, release: func() { qc.idle.done(time.Duration(qc.keep.Load())) }}
	return &Conn{stream: st, path: QUIC, peer: qc.peer, addr: qc.end.ma, pooled: qc}
}

func (qc *quicConn) touch() { qc.last.Store(time.Now().UnixNano()) }

// probed reports whether a connection to the peer was probed or listed while its warmth lasts.
func (p *quicPool) probed(id peer.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.conns[id], func(qc *quicConn) bool {
		return time.Since(time.Unix(0, qc.last.Load())) < time.Duration(qc.keep.Load())
	})
}

// retire keeps new streams off a connection that does not answer; it ends when its last stream does.
func (qc *quicConn) retire() { qc.pool.drop(qc) }

// dial makes a new connection and opens its first stream.
func (p *quicPool) dial(ctx context.Context, as *Identity, id peer.ID, e endpoint, keep time.Duration) (*Conn, error) {
	tr, err := p.socket(e)
	if err != nil {
		return nil, err
	}
	var v verdict
	conn, err := tr.Dial(ctx, udpAddr(e), as.config(id, &v), quicConfig())
	if err != nil {
		return nil, v.explain(err)
	}
	qc := &quicConn{Conn: conn, peer: id, end: e, pool: p}
	qc.keep.Store(int64(keep))
	qc.idle = newIdleTimer(keep, func() { conn.CloseWithError(quicDone, "idle") })
	if !p.add(qc) {
		qc.idle.stop()
		conn.CloseWithError(quicDone, "closing")
		return nil, ErrClosed
	}
	c := qc.open()
	if c == nil {
		return nil, errors.New("link: the instance allows no stream")
	}
	c.fresh = true
	return c, nil
}

// udpAddr returns the address in the form that net.ResolveUDPAddr has, sixteen bytes for IPv4 too: simulated
// networks compare them.
func udpAddr(e endpoint) *net.UDPAddr {
	ip := e.ip.As16()
	return &net.UDPAddr{IP: ip[:], Port: int(e.port)}
}

func (p *quicPool) add(qc *quicConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.conns == nil {
		p.conns = map[peer.ID][]*quicConn{}
	}
	p.conns[qc.peer] = append(p.conns[qc.peer], qc)
	context.AfterFunc(qc.Context(), func() {
		qc.idle.stop()
		p.drop(qc)
	})
	return true
}

func (p *quicPool) drop(qc *quicConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[qc.peer] = slices.DeleteFunc(p.conns[qc.peer], func(c *quicConn) bool { return c == qc })
	if len(p.conns[qc.peer]) == 0 {
		delete(p.conns, qc.peer)
	}
}

// socket returns the transport of the endpoint's IP version and opens it if need be.
func (p *quicPool) socket(e endpoint) (*quic.Transport, error) {
	network := "udp4"
	if e.ip.Is6() {
		network = "udp6"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if tr := p.sockets[network]; tr != nil {
		return tr, nil
	}
	c, err := p.listen(network)
	if err != nil {
		return nil, err
	}
	if p.sockets == nil {
		p.sockets = map[string]*quic.Transport{}
	}
	tr := &quic.Transport{Conn: c}
	p.sockets[network] = tr
	return tr, nil
}

func (p *quicPool) close() {
	p.mu.Lock()
	p.closed = true
	var conns []*quicConn
	for _, list := range p.conns {
		conns = append(conns, list...)
	}
	sockets := p.sockets
	p.sockets = nil
	p.mu.Unlock()
	for _, qc := range conns {
		qc.CloseWithError(quicAbort, "closing")
	}
	for _, tr := range sockets {
		tr.Close()
		tr.Conn.Close()
	}
}
