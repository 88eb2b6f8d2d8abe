package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// surrender takes from the calling thread, and so from what it starts, every privilege: other groups, the user that it
// was, capabilities, and the way to new ones. It uses raw calls because Go's own change all threads, and init's other
// threads have work to do.
func surrender(user int) error {
	for c := range uintptr(64) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			break // the last is passed, or this thread has none to give
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // older kernels have none
	if user >= 0 {
		if err := become(uintptr(user)); err != nil {
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return noNewPrivileges()
}

func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

func become(id uintptr) error {
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); e != 0 {
		return fmt.Errorf("setresgid %d: %w", id, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); e != 0 {
		return fmt.Errorf("setresuid %d: %w", id, e)
	}
	return nil
}

// slack is what the runtime of a program may reserve beyond its memory, in bytes.
const slack = 256 << 20

// limit sets rlimits for init and what it starts. They bound each process; a group as a whole is bounded by a cgroup,
// and processes of a user namespace, or of the user that root made for the box, are counted together anyway.
func limit(l Limits, files bool) error {
	size := uint64(unix.RLIM_INFINITY)
	if files {
		size = uint64(l.Disk)
	}
	for _, r := range []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, maxFiles},
		{unix.RLIMIT_FSIZE, size},
		{unix.RLIMIT_DATA, uint64(l.Memory) + slack},
		{unix.RLIMIT_MSGQUEUE, 0},
	} {
		if err := setLimit(r.what, r.value); err != nil {
			return err
		}
	}
	return nil
}

// setLimit sets both limits, and never above the hard limit that there is.
func setLimit(what int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(what, &now); err != nil {
		return fmt.Errorf("rlimit %d: %w", what, err)
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("rlimit %d: %w", what, err)
	}
	return nil
}

// closeOnExec marks everything that init holds: the program gets what it is given and nothing that was left open.
func closeOnExec() error {
	err := unix.CloseRange(controlFD, ^uint(0)>>33, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) { // before Linux 5.11
		for fd := controlFD; fd < 1024; fd++ {
			unix.CloseOnExec(fd)
		}
		return nil
	}
	return err
}
