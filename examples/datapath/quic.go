package main

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// quicConn is the one stream of a QUIC connection as a net.Conn: the least that gRPC over QUIC can be.
type quicConn struct {
	*quic.Stream
	conn *quic.Conn
}

func (c *quicConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close ends the connection with its stream.
func (c *quicConn) Close() error { return c.conn.CloseWithError(0, "") }

func dialQUIC(ctx context.Context, addr string, cfg *tls.Config) (net.Conn, error) {
	conn, err := quic.DialAddr(ctx, addr, cfg, nil)
	if err != nil {
		return nil, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		conn.CloseWithError(1, err.Error())
		return nil, err
	}
	return &quicConn{stream, conn}, nil
}

// quicListener accepts connections with one stream each.
type quicListener struct {
	*quic.Listener
	conns  chan net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func listenQUIC(cfg *tls.Config) (net.Listener, error) {
	l, err := quic.ListenAddr("127.0.0.1:0", cfg, nil)
	if err != nil {
		return nil, err
	}
	q := &quicListener{Listener: l, conns: make(chan net.Conn)}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.wg.Go(q.run)
	return q, nil
}

func (l *quicListener) run() {
	for {
		conn, err := l.Listener.Accept(l.ctx)
		if err != nil {
			return
		}
		l.wg.Go(func() {
			stream, err := conn.AcceptStream(l.ctx)
			if err != nil {
				return
			}
			select {
			case l.conns <- &quicConn{stream, conn}:
			case <-l.ctx.Done():
			}
		})
	}
}

// Accept returns the next connection's stream.
func (l *quicListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listener and its goroutines.
func (l *quicListener) Close() error {
	l.cancel()
	err := l.Listener.Close()
	l.wg.Wait()
	return err
}
