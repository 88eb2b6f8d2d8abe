//go:build amd64 || arm64

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A moment is when a traced program dies, seen from the change that it dies at.
type moment int

const (
	before moment = iota // the kernel has not begun with the change
	half                 // of a write, half of the bytes are in the file
	after                // the program has not yet seen that the change is done
)

func (m moment) String() string { return [...]string{"before", "half-way through", "after"}[m] }

// trace runs a program under ptrace and counts its changes of the disk: its own, and those of the programs that it
// starts. At one of them it kills all of these with SIGKILL. It also notes the sockets that they open.
type trace struct {
	Roots []string // folders; what happens elsewhere is not counted
	Kill  int      // the number of the change to die at, from 1; 0: none
	When  moment

	Changes []string // what it did, up to the end
	Sockets []string // the sockets that it opened, of whatever kind
	Died    bool     // it has come to Kill

	mu        sync.Mutex
	main      int            // process; 0 once it has ended
	processes map[int]bool   // that are traced
	calls     map[int]inCall // by thread: the one that it is in
	status    syscall.WaitStatus
}

// inCall is the system call that a thread is in.
type inCall struct{ inside, last bool }

// The numbers of ptrace(2) that package syscall does not name.
const (
	getSyscallInfo = 0x420e
	optExitKill    = 0x100000
	stopSyscall    = syscall.SIGTRAP | 0x80
	infoEntry      = 1
)

// Run runs cmd to its end, at most for limit, and returns how it ended. Standard output and error must be files or nil.
func (tr *trace) Run(cmd *exec.Cmd, limit time.Duration) (syscall.WaitStatus, error) {
	runtime.LockOSThread() // a process is traced by a thread
	defer runtime.UnlockOSThread()
	tr.processes, tr.calls = map[int]bool{}, map[int]inCall{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	defer cmd.Process.Release()
	tr.mu.Lock()
	tr.main = pid
	tr.mu.Unlock()
	tr.processes[pid] = true
	watchdog := time.AfterFunc(limit, func() { tr.Signal(syscall.SIGKILL) })
	defer watchdog.Stop()
	if _, err := syscall.Wait4(pid, nil, syscall.WALL, nil); err != nil {
		return 0, err
	}
	const options = syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK |
		syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACEEXEC | optExitKill
	if err := syscall.PtraceSetOptions(pid, options); err != nil {
		return 0, err
	}
	return tr.follow(pid)
}

// Signal sends the program a signal, if it still runs. It may be called from any goroutine.
func (tr *trace) Signal(sig syscall.Signal) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.main != 0 {
		_ = syscall.Kill(tr.main, sig)
	}
}

// Process is the number of the program's process, 0 if it does not run. It may be called from any goroutine.
func (tr *trace) Process() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.main
}

// follow lets the threads run from stop to stop until none of the traced processes is left; this thread may have other
// children.
func (tr *trace) follow(pid int) (syscall.WaitStatus, error) {
	_ = syscall.PtraceSyscall(pid, 0)
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, syscall.WALL|syscall.WNOTHREAD, nil)
		switch {
		case err == syscall.EINTR:
		case err == syscall.ECHILD:
			return tr.status, nil
		case err != nil:
			return 0, err
		case ws.Stopped():
			tr.stopped(tid, ws)
		case ws.Exited(), ws.Signaled():
			if tr.ended(tid, ws); len(tr.processes) == 0 {
				return tr.status, nil
			}
		}
	}
}

func (tr *trace) ended(tid int, ws syscall.WaitStatus) {
	delete(tr.calls, tid)
	delete(tr.processes, tid)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tid == tr.main {
		tr.main, tr.status = 0, ws
	}
}

func (tr *trace) stopped(tid int, ws syscall.WaitStatus) {
	deliver := 0
	_, known := tr.calls[tid]
	switch sig := ws.StopSignal(); {
	case sig == stopSyscall:
		tr.syscall(tid)
	case sig == syscall.SIGTRAP:
		if cause := ws.TrapCause(); cause == syscall.PTRACE_EVENT_FORK || cause == syscall.PTRACE_EVENT_VFORK {
			if child, err := syscall.PtraceGetEventMsg(tid); err == nil {
				tr.processes[int(child)] = true
			}
		}
	case sig == syscall.SIGSTOP && !known: // a new thread begins with it
		tr.calls[tid] = inCall{}
	default:
		deliver = int(sig)
	}
	if tr.Died {
		return
	}
	_ = syscall.PtraceSyscall(tid, deliver) // it may have ended meanwhile
}

// syscall sees a thread at the beginning or at the end of a call.
func (tr *trace) syscall(tid int) {
	was := tr.calls[tid]
	if was.inside && was.last {
		tr.die()
		return
	}
	op, nr, args, err := syscallInfo(tid)
	if err != nil || op != infoEntry {
		tr.calls[tid] = inCall{}
		return
	}
	now := inCall{inside: true}
	if nr == unix.SYS_SOCKET {
		tr.Sockets = append(tr.Sockets, fmt.Sprintf("family %d, type %d", args[0], args[1]&0xf))
	}
	if what := tr.change(tid, nr, args); what != "" {
		tr.Changes = append(tr.Changes, what)
		if len(tr.Changes) == tr.Kill {
			now.last = true
			if tr.When == before {
				tr.die()
			}
			if tr.When == half {
				shorten(tid, nr, args)
			}
		}
	}
	tr.calls[tid] = now
}

func (tr *trace) die() {
	tr.Died = true
	for pid := range tr.processes {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func syscallInfo(tid int) (op byte, nr uint64, args [6]uint64, err error) {
	var info [88]byte // struct ptrace_syscall_info
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, getSyscallInfo, uintptr(tid), uintptr(len(info)), uintptr(unsafe.Pointer(&info[0])), 0, 0)
	if errno != 0 {
		return 0, 0, args, fmt.Errorf("ptrace: %w", errno)
	}
	for i := range args {
		args[i] = binary.NativeEndian.Uint64(info[32+8*i:])
	}
	return info[0], binary.NativeEndian.Uint64(info[24:]), args, nil
}

// traceable returns why this machine does not let a process trace its children, or nil.
func traceable(t *testing.T) error {
	t.Helper()
	tr := &trace{Roots: []string{t.TempDir()}}
	if _, err := tr.Run(exec.Command("touch", filepath.Join(tr.Roots[0], "file")), time.Minute); err != nil {
		return err
	}
	if len(tr.Changes) == 0 {
		return errors.New("the system calls of traced processes cannot be seen")
	}
	return nil
}
