package link

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tuneTCP sees to it that a peer which has vanished is noticed after about 20 s: by keep-alives while nothing is
// sent, and by TCP_USER_TIMEOUT (RFC 5482) while sent bytes stay unacknowledged, which Linux would allow for a
// quarter of an hour.
func tuneTCP(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2})
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000)
	})
}
