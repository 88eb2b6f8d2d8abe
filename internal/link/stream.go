package link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// stream is what Conn needs of a transport.
type stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// tcpStream is TLS on a TCP connection.
type tcpStream struct {
	*tls.Conn
	raw    net.Conn
	broken atomic.Bool // a Write failed: the last record may be cut, nothing can follow it
}

func (s *tcpStream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if err != nil {
		s.broken.Store(true)
	}
	return n, err
}

// CloseWrite sends close_notify.
func (s *tcpStream) CloseWrite() error {
	if s.broken.Load() {
		return errBroken
	}
	return s.Conn.CloseWrite()
}

// Close sends close_notify and closes. While the other end does not read and the socket is full, that takes up to
// 5 s (crypto/tls).
func (s *tcpStream) Close() error {
	if s.broken.Load() {
		return s.Reset()
	}
	return s.Conn.Close()
}

// Reset closes the connection without close_notify and with a TCP reset, so that the other end sees an abort.
func (s *tcpStream) Reset() error {
	hard(s.raw)
	return s.raw.Close()
}

func hard(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
}

// truthConn is a TCP connection under TLS. It never says io.EOF: crypto/tls would hand that on as a clean end,
// although no close_notify came (RFC 8446 section 6.1). Nor does it say ETIMEDOUT, which claims to be a timeout
// like that of a deadline.
type truthConn struct{ net.Conn }

func (c truthConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed):
		return n, err
	case err == io.EOF:
		err = errors.New("the peer is gone and has not closed the stream")
	}
	return n, &abortError{err}
}

var errBroken = errors.New("link: a Write failed, so the stream cannot end cleanly")

// Codes with which cell/1 ends QUIC streams and connections.
const (
	quicDone  = 0 // no longer wanted
	quicAbort = 1 // what was sent is not complete
)

// quicStream is one bidirectional QUIC stream as a net.Conn.
type quicStream struct {
	*quic.Stream
	conn    *quic.Conn
	release func() // called once, when the stream is closed

	wmu    sync.Mutex // held by Write: quic-go forbids Close beside it
	broken atomic.Bool
	closed atomic.Bool
}

func (s *quicStream) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s *quicStream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

func (s *quicStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, s.explain(err)
}

func (s *quicStream) Write(b []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := s.Stream.Write(b)
	if err != nil {
		s.broken.Store(true)
	}
	return n, s.explain(err)
}

// explain turns quic-go's errors into what a net.Conn's reader expects.
func (s *quicStream) explain(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case s.closed.Load() || errors.Is(err, quic.ErrStreamClosed):
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	return &abortError{err}
}

// CloseWrite sends FIN behind what was written.
func (s *quicStream) CloseWrite() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.broken.Load() {
		return errBroken
	}
	return s.Stream.Close()
}

// Close ends both directions: FIN for what was written, unless a Write failed or is under way, and no more reading.
func (s *quicStream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	locked := s.wmu.TryLock()
	if locked && !s.broken.Load() {
		s.Stream.Close()
	} else {
		s.Stream.CancelWrite(quicAbort)
	}
	if locked {
		s.wmu.Unlock()
	}
	s.Stream.CancelRead(quicDone)
	s.Stream.SetDeadline(time.Now())
	s.release()
	return nil
}

// Reset ends both directions; the other end sees an abort.
func (s *quicStream) Reset() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.Stream.CancelWrite(quicAbort)
	s.Stream.CancelRead(quicAbort)
	s.release()
	return nil
}
