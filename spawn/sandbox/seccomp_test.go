//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict runs the filter for one call, as the kernel would; the kernel reads struct seccomp_data in its own byte order
// and the machine of package bpf in the network's.
func verdict(t *testing.T, network bool, port uint16, told bool, arch uint32, call uintptr, args ...uint32) uint32 {
	t.Helper()
	raw, err := assemble(network, port, told)
	if err != nil {
		t.Fatal(err)
	}
	filter, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	vm, err := bpf.NewVM(filter)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offsetNumber:], uint32(call))
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offsetArgs+8*i:], a)
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

func TestTheFilterAnswersEachCallAsItShould(t *testing.T) {
	const (
		allowed = uint32(unix.SECCOMP_RET_ALLOW)
		eperm   = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)
		enosys  = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
		kill    = uint32(unix.SECCOMP_RET_KILL_PROCESS)
		inet    = unix.AF_INET
		nonblok = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	)
	for _, c := range []struct {
		what    string
		network bool
		port    uint16
		arch    uint32
		call    uintptr
		args    []uint32
		want    uint32
	}{
		{"another architecture", false, 0, unix.AUDIT_ARCH_I386, unix.SYS_READ, nil, kill},
		{"the other way to call", false, 0, 0, 0x40000000, nil, enosys},
		{"read", false, 0, 0, unix.SYS_READ, nil, allowed},
		{"ptrace", true, 0, 0, unix.SYS_PTRACE, nil, eperm},
		{"clone3", true, 0, 0, unix.SYS_CLONE3, nil, enosys},
		{"io_uring", true, 0, 0, unix.SYS_IO_URING_SETUP, nil, enosys},
		{"a thread", false, 0, 0, unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD}, allowed},
		{"a user namespace", false, 0, 0, unix.SYS_CLONE, []uint32{unix.CLONE_NEWUSER}, eperm},
		{"terminal size", false, 0, 0, unix.SYS_IOCTL, []uint32{0, unix.TIOCGWINSZ}, allowed},
		{"input for others", false, 0, 0, unix.SYS_IOCTL, []uint32{0, unix.TIOCSTI}, eperm},
		{"console", false, 0, 0, unix.SYS_IOCTL, []uint32{0, unix.TIOCLINUX}, eperm},
		{"unix without network", false, 0, 0, unix.SYS_SOCKET, []uint32{unix.AF_UNIX, unix.SOCK_STREAM}, allowed},
		{"tcp without network", false, 0, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_STREAM}, eperm},
		{"unix with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{unix.AF_UNIX, unix.SOCK_DGRAM}, allowed},
		{"tcp with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_STREAM | nonblok, 0}, allowed},
		{"tcp 6 with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP}, allowed},
		{"mptcp with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, eperm},
		{"sctp with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, eperm},
		{"udp with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_DGRAM, 0}, eperm},
		{"netlink with a port", false, 7000, 0, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, 0}, eperm},
		{"fast open with a port", false, 7000, 0, unix.SYS_SENDTO, []uint32{3, 0, 0, msgFastOpen}, eperm},
		{"send with a port", false, 7000, 0, unix.SYS_SENDTO, []uint32{3, 0, 0, unix.MSG_NOSIGNAL}, allowed},
		{"udp with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_DGRAM | nonblok, 0}, allowed},
		{"mptcp with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, allowed},
		{"raw with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{inet, unix.SOCK_RAW, 1}, eperm},
		{"addresses with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allowed},
		{"other netlink with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT}, eperm},
		{"packets with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{unix.AF_PACKET, unix.SOCK_DGRAM, 0}, eperm},
		{"vsock with a network", true, 0, 0, unix.SYS_SOCKET, []uint32{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, eperm},
	} {
		arch := c.arch
		if arch == 0 {
			arch = auditArch
		}
		if got := verdict(t, c.network, c.port, false, arch, c.call, c.args...); got != c.want {
			t.Errorf("%s: got %#x, want %#x", c.what, got, c.want)
		}
		want := c.want
		if want == eperm {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if got := verdict(t, c.network, c.port, true, arch, c.call, c.args...); got != want {
			t.Errorf("%s, where denials are told: got %#x, want %#x", c.what, got, want)
		}
	}
}
