package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

func (s *Server) acceptTLS(ln net.Listener, path string) {
	defer ln.Close()
	var pause time.Duration
	for {
		c, err := ln.Accept()
		if err != nil {
			if s.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, or a client that went away while it was accepted: both pass.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Log.Warn("accept failed", "addr", ln.Addr(), "err", err)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			continue
		}
		pause = 0
		place, ok := s.admit(c.RemoteAddr())
		if !ok {
			hard(c)
			c.Close()
			continue
		}
		stop := func() { hard(c); c.Close() }
		if !s.run(stop, func() { defer place.leave(); defer c.Close(); s.serveTLS(c, path, place) }) {
			place.leave()
			return
		}
	}
}

func (s *Server) serveTLS(c net.Conn, path string, place *admission) {
	tuneTCP(c)
	var v verdict
	tc := tls.Server(truthConn{c}, s.cfg.Identity.config("", &v))
	ctx, cancel := context.WithTimeout(s.ctx, 2*s.cfg.Preface)
	err := tc.HandshakeContext(ctx)
	cancel()
	if err != nil {
		hard(c)
		s.turned.add(turnedHandshake)
		s.cfg.Log.Debug("handshake failed", "addr", c.RemoteAddr(), "err", err)
		return
	}
	place.known(v.peer)
	s.serve(&Conn{stream: &tcpStream{Conn: tc, raw: c}, path: path, peer: v.peer}, place, func() {})
}

func (s *Server) acceptQUIC(ln QUICListener) {
	defer ln.Close()
	for {
		c, err := ln.Accept(s.ctx)
		if err != nil {
			if !s.isClosed() {
				s.cfg.Log.Error("accept failed, this address is served no longer", "addr", ln.Addr(), "err", err)
			}
			return
		}
		place, ok := s.admit(c.RemoteAddr())
		if !ok {
			c.CloseWithError(quicAbort, "busy")
			continue
		}
		stop := func() { c.CloseWithError(quicAbort, "closing") }
		if !s.run(stop, func() { defer place.leave(); s.serveQUIC(c, place) }) {
			place.leave()
			return
		}
	}
}

// maxSilent is how many streams of a QUIC connection may be without a Hello at a time; those behind them wait. A client opens
// all 256 of a connection with one packet.
const maxSilent = 32

// serveQUIC serves the streams of one connection. It returns when the connection has ended.
func (s *Server) serveQUIC(c *quic.Conn, place *admission) {
	id, err := checkPeer(c.ConnectionState().TLS)
	if err != nil {
		s.cfg.Log.Debug("peer refused", "addr", c.RemoteAddr(), "err", err)
		c.CloseWithError(quicAbort, "certificate")
		return
	}
	place.known(id)
	idle := newIdleTimer(s.cfg.Preface, func() { c.CloseWithError(quicDone, "idle") })
	defer idle.stop()
	silent := make(chan struct{}, maxSilent)
	for {
		select {
		case silent <- struct{}{}:
		case <-c.Context().Done():
			return
		}
		qs, err := c.AcceptStream(s.ctx)
		if err != nil {
			return
		}
		idle.add()
		st := &quicStream{Stream: qs, conn: c, release: func() {
			if place.greeted.Load() {
				idle.done(s.cfg.Idle)
			} else {
				idle.done(s.cfg.Preface)
			}
		}}
		conn := &Conn{stream: st, path: QUIC, peer: id}
		heard := sync.OnceFunc(func() { <-silent })
		if !s.run(func() { conn.Reset() }, func() { defer heard(); s.serve(conn, place, heard) }) {
			return
		}
	}
}
