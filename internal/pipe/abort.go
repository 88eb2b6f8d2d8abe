package pipe

import "net"

// Abort closes conn such that its far side reads an error where the transport has a way to say so.
func Abort(conn net.Conn, cause error) {
	switch c := conn.(type) {
	case interface{ Reset() error }: // cell/1 connections, libp2p streams
		_ = c.Reset()
	case interface{ CloseWithError(error) error }:
		_ = c.CloseWithError(cause)
	default:
		noLinger(conn)
	}
	conn.Close()
}

// noLinger makes the close of the TCP connection at the bottom of conn a reset. For TLS the bottom is closed here, for
// tls.Conn.Close would first send close_notify, which says that all is well.
func noLinger(conn net.Conn) {
	switch c := conn.(type) {
	case interface{ SetLinger(int) error }:
		_ = c.SetLinger(0)
	case interface{ NetConn() net.Conn }:
		noLinger(c.NetConn())
		c.NetConn().Close()
	}
}
