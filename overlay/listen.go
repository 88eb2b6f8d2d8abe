package overlay

import (
	"context"
	"net"
	"sync"
)

// A Listener takes the connections of clients for a service in this process. It implements net.Listener.
type Listener struct {
	*Instance
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

// Listen serves the service in this process: what Accept returns are connections of clients, already authenticated
// and encrypted. Service.Handle is not used. Close says goodbye with Leave's default: none; call Leave first.
func (n *Node) Listen(ctx context.Context, s Service) (*Listener, error) {
	l := &Listener{conns: make(chan net.Conn), done: make(chan struct{}), addr: cellAddr(s.Cell.String())}
	s.Handle = l.handle
	i, err := n.Serve(ctx, s)
	if err != nil {
		return nil, err
	}
	l.Instance = i
	return l, nil
}

// handle hands c to Accept and stays until c is closed: the node counts it as open for that long.
func (l *Listener) handle(ctx context.Context, c net.Conn) {
	closed := make(chan struct{})
	select {
	case l.conns <- &countedConn{Conn: c, closed: closed}:
	case <-l.done:
		c.Close()
		return
	case <-ctx.Done():
		c.Close()
		return
	}
	select {
	case <-closed:
	case <-ctx.Done():
		c.Close()
	}
}

// Accept returns the next client's connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Addr returns the cell's name as an address.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close ends the instance at once. It may be called more than once.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Instance.Close()
}

type countedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close closes the connection, and then tells the node, which would close it too.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// CloseWrite ends our half of the connection.
func (c *countedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

type cellAddr string

func (cellAddr) Network() string  { return "cell" }
func (a cellAddr) String() string { return string(a) }
