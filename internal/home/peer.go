package home

import (
	"fmt"
	"net"
	"os"
)

// SameUser refuses a Unix-socket connection whose other end is another user's process; root's is refused too unless
// this is root. Connections of other kinds are refused. Where the system cannot tell (Windows), the socket's directory
// is the only guard, and SameUser says nil.
func SameUser(conn net.Conn) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("home: a %T has no owner", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	uid, known := 0, false
	var failed error
	if err := raw.Control(func(fd uintptr) { uid, known, failed = peerUID(int(fd)) }); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("home: %w", failed)
	}
	if me := os.Geteuid(); known && uid != me {
		return fmt.Errorf("home: the other end is user %d and you are user %d", uid, me)
	}
	return nil
}
