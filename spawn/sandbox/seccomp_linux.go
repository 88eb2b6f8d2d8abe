//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The filter refuses what a service has no business with and what other layers could be undone by; it is a list of what
// is refused, because a list of what is allowed breaks with every new libc. A known library (go-seccomp-bpf) was weighed:
// with such a list it lets calls of another architecture (int 0x80) through, so the few instructions are put together
// here. Offsets are those of struct seccomp_data (seccomp(2)).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16 // eight bytes each, the low half first on the architectures below
)

// named is a call with the name that a log gives it.
type named struct {
	call uintptr
	name string
}

// refused calls answer EPERM.
var refused = []named{
	{unix.SYS_PTRACE, "ptrace"},
	{unix.SYS_PROCESS_VM_READV, "process_vm_readv"},
	{unix.SYS_PROCESS_VM_WRITEV, "process_vm_writev"},
	{unix.SYS_PROCESS_MADVISE, "process_madvise"},
	{unix.SYS_KCMP, "kcmp"},
	{unix.SYS_PIDFD_GETFD, "pidfd_getfd"},
	{unix.SYS_MOUNT, "mount"},
	{unix.SYS_UMOUNT2, "umount2"},
	{unix.SYS_PIVOT_ROOT, "pivot_root"},
	{unix.SYS_CHROOT, "chroot"},
	{unix.SYS_OPEN_TREE, "open_tree"},
	{unix.SYS_MOVE_MOUNT, "move_mount"},
	{unix.SYS_FSOPEN, "fsopen"},
	{unix.SYS_FSCONFIG, "fsconfig"},
	{unix.SYS_FSMOUNT, "fsmount"},
	{unix.SYS_FSPICK, "fspick"},
	{unix.SYS_MOUNT_SETATTR, "mount_setattr"},
	{unix.SYS_OPEN_TREE_ATTR, "open_tree_attr"},
	{unix.SYS_UNSHARE, "unshare"},
	{unix.SYS_SETNS, "setns"},
	{unix.SYS_KEYCTL, "keyctl"},
	{unix.SYS_ADD_KEY, "add_key"},
	{unix.SYS_REQUEST_KEY, "request_key"},
	{unix.SYS_BPF, "bpf"},
	{unix.SYS_PERF_EVENT_OPEN, "perf_event_open"},
	{unix.SYS_USERFAULTFD, "userfaultfd"},
	{unix.SYS_PERSONALITY, "personality"},
	{unix.SYS_SYSLOG, "syslog"},
	{unix.SYS_KEXEC_LOAD, "kexec_load"},
	{unix.SYS_KEXEC_FILE_LOAD, "kexec_file_load"},
	{unix.SYS_REBOOT, "reboot"},
	{unix.SYS_SWAPON, "swapon"},
	{unix.SYS_SWAPOFF, "swapoff"},
	{unix.SYS_INIT_MODULE, "init_module"},
	{unix.SYS_FINIT_MODULE, "finit_module"},
	{unix.SYS_DELETE_MODULE, "delete_module"},
	{unix.SYS_ACCT, "acct"},
	{unix.SYS_QUOTACTL, "quotactl"},
	{unix.SYS_QUOTACTL_FD, "quotactl_fd"},
	{unix.SYS_SETTIMEOFDAY, "settimeofday"},
	{unix.SYS_CLOCK_SETTIME, "clock_settime"},
	{unix.SYS_CLOCK_ADJTIME, "clock_adjtime"},
	{unix.SYS_ADJTIMEX, "adjtimex"},
	{unix.SYS_SETHOSTNAME, "sethostname"},
	{unix.SYS_SETDOMAINNAME, "setdomainname"},
	{unix.SYS_VHANGUP, "vhangup"},
	{unix.SYS_NAME_TO_HANDLE_AT, "name_to_handle_at"},
	{unix.SYS_OPEN_BY_HANDLE_AT, "open_by_handle_at"},
	{unix.SYS_FANOTIFY_INIT, "fanotify_init"},
	{unix.SYS_LOOKUP_DCOOKIE, "lookup_dcookie"},
	{unix.SYS_MIGRATE_PAGES, "migrate_pages"},
	{unix.SYS_MOVE_PAGES, "move_pages"},
	{unix.SYS_NFSSERVCTL, "nfsservctl"},
}

// absent calls answer ENOSYS, upon which libraries take the older way, which can be looked into: io_uring makes sockets
// that no filter sees, clone3 takes its flags from memory.
var absent = []uintptr{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_CLONE3}

// namespaceFlags are the flags of clone(2) that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// program is a filter that is being put together. Every rule begins and ends with the call's number in the accumulator.
type program struct {
	steps  []bpf.Instruction
	refuse bpf.Instruction // the verdict on what is refused
}

func errno(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

func allow() bpf.Instruction { return bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW} }

func argument(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offsetArgs + 8*n, Size: 4} }

// answerTo lets a call end with a verdict.
func (p *program) answerTo(call uintptr, verdict bpf.Instruction) {
	p.steps = append(p.steps, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(call), SkipFalse: 1}, verdict)
}

// look adds a rule for one call: steps come to a verdict, or fall through to being allowed.
func (p *program) look(call uintptr, steps ...bpf.Instruction) {
	p.steps = append(p.steps, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(call), SkipFalse: uint8(len(steps) + 1)})
	p.steps = append(append(p.steps, steps...), allow())
}

// assemble makes the filter for a box with the whole network, with one port, or with neither. If denials are told, the
// kernel asks whoever listens about what is refused, instead of refusing it by itself.
func assemble(network bool, port uint16, told bool) ([]bpf.RawInstruction, error) {
	p := program{refuse: errno(unix.EPERM)}
	if told {
		p.refuse = bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
	}
	p.steps = []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
		// Above lies another way to call (x32), and nothing else.
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0x40000000, SkipTrue: 1},
		errno(unix.ENOSYS),
	}
	for _, call := range slices.Concat(refused, refusedHere) {
		p.answerTo(call.call, p.refuse)
	}
	for _, call := range absent {
		p.answerTo(call, errno(unix.ENOSYS))
	}
	p.look(
		unix.SYS_CLONE, argument(0),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1}, p.refuse,
	)
	p.look( // input put into somebody else's terminal
		unix.SYS_IOCTL, argument(1),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCLINUX, SkipFalse: 1}, p.refuse,
	)
	p.sockets(network, port)
	return bpf.Assemble(append(p.steps, allow()))
}

// Types and protocols of sockets, as socket(2) has them.
const (
	typeMask    = 0xf
	msgFastOpen = 0x20000000 // TCP connects without connect(2), past Landlock
)

func (p *program) sockets(network bool, port uint16) {
	switch {
	case network: // TCP, UDP and the question which addresses there are; no raw packets, no other machines' kinds
		p.look(
			unix.SYS_SOCKET, argument(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipTrue: 9},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_NETLINK, SkipTrue: 5},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_INET6, SkipTrue: 5},
			argument(1), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: typeMask},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.SOCK_DGRAM, SkipTrue: 2, SkipFalse: 3},
			argument(2),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NETLINK_ROUTE, SkipTrue: 1},
			p.refuse,
		)
	case port != 0: // TCP alone; MPTCP is another protocol, which Landlock does not see
		p.look(
			unix.SYS_SOCKET, argument(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipTrue: 9},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AF_INET6, SkipTrue: 6},
			argument(1), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: typeMask},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SOCK_STREAM, SkipTrue: 3},
			argument(2),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 1},
			p.refuse,
		)
		for call, flags := range map[uintptr]uint32{unix.SYS_SENDTO: 3, unix.SYS_SENDMSG: 2, unix.SYS_SENDMMSG: 3} {
			p.look(call, argument(flags), bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: msgFastOpen, SkipFalse: 1}, p.refuse)
		}
	default:
		p.look(
			unix.SYS_SOCKET, argument(0),
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipTrue: 1}, p.refuse,
		)
	}
}

// filterCalls sets the filter for the calling thread and what it starts. No new privileges must be set before. If denials
// are to be told and the kernel can (Linux 5.0), listener is the descriptor at which it asks, for tellDenied; else it is -1.
func filterCalls(network bool, port uint16, tell bool) (listener int, err error) {
	if tell && canTell() {
		if listener, err = setFilter(network, port, true); err == nil {
			return listener, nil
		}
	}
	_, err = setFilter(network, port, false)
	return -1, err
}

// setFilter returns the listener, if denials are told.
func setFilter(network bool, port uint16, told bool) (int, error) {
	raw, err := assemble(network, port, told)
	if err != nil {
		return -1, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	flags := uintptr(0)
	if told {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return -1, fmt.Errorf("seccomp: %w", e)
	}
	return int(fd), nil
}

// hasSeccomp asks the kernel whether filters may answer with an error.
func hasSeccomp() bool {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return e == 0
}
