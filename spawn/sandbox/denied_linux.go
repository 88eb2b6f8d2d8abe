//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel asks and is answered, as struct seccomp_notif and seccomp_notif_resp have it (seccomp_unotify(2)).
type (
	question struct {
		id         uint64
		pid, flags uint32
		call       int32
		arch       uint32
		at         uint64
		args       [6]uint64
	}
	reply struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

// tellDenied answers the calls that the filter refuses with EPERM, each after tell has said which it is. It returns when
// the listener fails; until then it keeps the calling goroutine's thread. Who asks waits, so tell must be quick.
func tellDenied(listener int, tell func(call string)) {
	for {
		var q question
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q))); e != 0 {
			if e == unix.EINTR || e == unix.ENOENT { // whoever asked has been killed
				continue
			}
			return
		}
		tell(describe(uintptr(q.call), q.args))
		r := reply{id: q.id, errno: -int32(unix.EPERM)}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	}
}

// describe names a refused call. Its arguments are those that the filter looks at.
func describe(call uintptr, args [6]uint64) string {
	switch call {
	case unix.SYS_SOCKET:
		return fmt.Sprintf("socket(%s, %s, %s)", nameOf(families, args[0]), nameOf(types, args[1]&typeMask), nameOf(protocols, args[2]))
	case unix.SYS_CLONE:
		return "clone with new namespaces"
	case unix.SYS_IOCTL:
		return nameOf(terminals, args[1])
	case unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		return "TCP fast open"
	}
	for _, list := range [][]named{refused, refusedHere} {
		for _, n := range list {
			if n.call == call {
				return n.name
			}
		}
	}
	return fmt.Sprintf("call %d", call)
}

// Names of what sockets and terminals are asked for.
var (
	families = map[uint64]string{
		unix.AF_UNIX: "unix", unix.AF_INET: "IPv4", unix.AF_INET6: "IPv6", unix.AF_NETLINK: "netlink", unix.AF_PACKET: "packet",
		unix.AF_VSOCK: "vsock", unix.AF_ALG: "alg", unix.AF_BLUETOOTH: "bluetooth", unix.AF_CAN: "can", unix.AF_XDP: "xdp",
	}
	types = map[uint64]string{
		unix.SOCK_STREAM: "stream", unix.SOCK_DGRAM: "datagram", unix.SOCK_RAW: "raw", unix.SOCK_SEQPACKET: "seqpacket",
	}
	protocols = map[uint64]string{
		0: "default", unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp",
		unix.IPPROTO_MPTCP: "mptcp",
	}
	terminals = map[uint64]string{unix.TIOCSTI: "ioctl TIOCSTI", unix.TIOCLINUX: "ioctl TIOCLINUX"}
)

// nameOf is a number's name, or the number: the low half of an argument, as the filter reads it.
func nameOf(names map[uint64]string, n uint64) string {
	n &= 1<<32 - 1
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprint(n)
}

// canTell says whether the kernel asks in the form that is known here.
func canTell() bool {
	var sizes [3]uint16 // of the question, the reply and the call within the question
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	return e == 0 && uintptr(sizes[0]) == unsafe.Sizeof(question{}) && uintptr(sizes[1]) == unsafe.Sizeof(reply{})
}
