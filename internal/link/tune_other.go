//go:build !linux

package link

import (
	"net"
	"time"
)

// tuneTCP sees to it that a peer which has vanished is noticed after about 20 s while nothing is sent.
func tuneTCP(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2})
	}
}
