package pipe

import "net"

// Arm makes a TCP connection end with a reset unless it is closed on purpose: the kernel closes what a killed process leaves,
// and without this it would tell the far side that all has been said. A Unix socket has no reset: there the far side sees an
// end, and its protocol must say whether that was complete, as HTTP and gRPC do. Anything but TCP is given back as it is.
func Arm(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok || tcp.SetLinger(0) != nil {
		return c
	}
	return armed{tcp}
}

type armed struct{ *net.TCPConn }

// Close ends the connection as usual: what was written still arrives.
func (c armed) Close() error {
	// If it cannot be disarmed it ends with a reset, which is the safe side.
	_ = c.SetLinger(-1)
	return c.TCPConn.Close()
}

// Reset ends it as a kill would.
func (c armed) Reset() error { return c.TCPConn.Close() }

// disarmed is the connection under an armed one, for passing bytes.
func disarmed(c net.Conn) net.Conn {
	if a, ok := c.(armed); ok {
		return a.TCPConn
	}
	return c
}
