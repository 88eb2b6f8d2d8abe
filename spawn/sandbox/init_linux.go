package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// initCalled guards against a process that starts itself anew and does not know why.
var initCalled atomic.Bool

// Init must be called first in main, and in TestMain, of whatever calls Start: the box's init is the same executable,
// started anew, and for that one Init does not return.
func Init() {
	initCalled.Store(true)
	if len(os.Args) != 2 || os.Args[1] != marker {
		return
	}
	runtime.LockOSThread() // for good: what this thread gives up is what the program does not have
	i := &boxInit{answers: json.NewEncoder(os.NewFile(answerFD, "answer")), listener: -1}
	if err := i.run(); err != nil {
		_ = i.say(answer{Error: strings.Join(strings.Fields(err.Error()), " ")})
		os.Exit(exitSetup)
	}
	os.Exit(0)
}

// boxInit is the first process of a box.
type boxInit struct {
	order    order
	control  *bufio.Reader
	listener int // where the kernel asks about refused calls; -1: it does not
	pid      int // of the program

	mu      sync.Mutex
	answers *json.Encoder
	reason  string // why we have ended it
}

// say tells the owner.
func (i *boxInit) say(a answer) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.answers.Encode(a)
}

// maxDenied bounds how many different denials of a program are told: a program could make up others for ever.
const maxDenied = 64

// tellDenied tells the owner of what the program is refused, each kind once.
func (i *boxInit) tellDenied() {
	known := make(map[string]bool)
	tellDenied(i.listener, func(call string) {
		if known[call] || len(known) == maxDenied {
			return
		}
		known[call] = true
		_ = i.say(answer{Denied: call}) // without an owner everything ends
	})
}

func (i *boxInit) run() error {
	i.control = bufio.NewReader(os.NewFile(controlFD, "control"))
	line, err := i.control.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &i.order)
	}
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if err := i.prepare(); err != nil {
		return err
	}
	if i.order.Probe {
		return i.say(answer{Started: true})
	}
	if i.listener >= 0 {
		go i.tellDenied()
	}
	if err := i.start(); err != nil {
		return err
	}
	if err := i.say(answer{Started: true}); err != nil {
		return err
	}
	go i.obey()
	if i.order.Watch {
		go i.watch()
	}
	// On a thread that sees all of the processes. What is collected is read by this one, which may read no more than the
	// program.
	ended := make(chan Status, 1)
	go func() { ended <- i.reap() }()
	return i.finish(<-ended)
}

// prepare puts up the walls around this thread, the outermost first.
func (i *boxInit) prepare() error {
	o := &i.order
	if err := closeOnExec(); err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	unix.Umask(0o022) // the way to what is in sight is open
	for _, path := range o.Cgroups {
		if err := os.WriteFile(path, []byte("0"), 0); err != nil { // 0 is the writer itself
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("subreaper: %w", err)
	}
	// A process that was started for another user than its own is one already; this one may be of the same.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	if o.Walls == WallsRoot || o.Walls == WallsUser {
		if err := view(o); err != nil {
			return err
		}
	}
	if o.Box.Copy != "" {
		if err := i.copyIn(); err != nil {
			return err
		}
	}
	unix.Umask(0o077)
	if err := unix.Chdir(o.Box.Dir); err != nil {
		return fmt.Errorf("chdir %s: %w", o.Box.Dir, err)
	}
	// Where the walls leave nothing to write but a scratch folder of limited size, files need no limit of their own.
	if err := limit(o.Box.Limits, o.Walls == WallsNone || o.Layers.Landlock == 0); err != nil {
		return err
	}
	return i.shut()
}

// shut is the part of prepare that cannot be taken back.
func (i *boxInit) shut() error {
	o := &i.order
	if o.Box.Open {
		return noNewPrivileges()
	}
	// Room for init's own threads, which count as well. Without a namespace of users so does all that this user runs.
	processes := o.Box.Limits.Pids + 32
	if o.Walls == WallsNone {
		processes += threads(os.Getuid())
	}
	if err := surrender(o.User); err != nil {
		return err
	}
	if err := setLimit(unix.RLIMIT_NPROC, uint64(processes)); err != nil {
		return err
	}
	if o.Layers.Landlock > 0 {
		if err := landlock(o.Layers.Landlock, o.Box, o.Walls != WallsNone); err != nil {
			return err
		}
	}
	if o.Layers.Seccomp {
		var err error
		i.listener, err = filterCalls(o.Box.Network, o.Box.Port, o.Box.TellDenied)
		return err
	}
	return nil
}

// copyIn copies a folder of plain files into the scratch folder, for the program to own.
func (i *boxInit) copyIn() error {
	o := i.order
	if err := os.CopyFS(filepath.Join(o.Box.Scratch, "src"), os.DirFS(o.Box.Copy)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return filepath.WalkDir(o.Box.Scratch, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			_ = os.Chmod(path, info.Mode().Perm()|0o600)
		}
		if o.User < 0 {
			return nil
		}
		return os.Lchown(path, o.User, o.User)
	})
}

// start starts the program from this thread, in a session of its own.
func (i *boxInit) start() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	files := []uintptr{null.Fd(), 1, 2}
	if i.order.Box.HasReady {
		files = append(files, readyFD)
	}
	box := i.order.Box
	i.pid, err = syscall.ForkExec(box.Args[0], box.Args, &syscall.ProcAttr{
		Dir: box.Dir, Env: box.Env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	null.Close()
	if i.order.Box.HasReady {
		unix.Close(readyFD) // or nobody would see its end
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", box.Args[0], err)
	}
	return nil
}

// obey does what the owner says, and ends everything when the owner is gone.
func (i *boxInit) obey() {
	for {
		command, err := i.control.ReadByte()
		switch {
		case err != nil:
			i.end(ReasonOwner)
			return
		case command == commandTerminate:
			i.signal(unix.SIGTERM)
			i.signal(unix.SIGCONT)
		}
	}
}

// alone says whether every process in sight is one of the box.
func (i *boxInit) alone() bool { return i.order.Walls != WallsNone }

// signal reaches every process of the box, and without a namespace of processes those of the program's group.
func (i *boxInit) signal(s unix.Signal) {
	if i.alone() {
		_ = unix.Kill(-1, s)
		return
	}
	_ = unix.Kill(-i.pid, s)
}

// end kills the program, for a reason that the owner is told if it is there.
func (i *boxInit) end(reason string) {
	i.mu.Lock()
	if i.reason == "" {
		i.reason = reason
	}
	i.mu.Unlock()
	i.signal(unix.SIGKILL)
}

// reap collects what ends, until the program does, and then kills what is left.
func (i *boxInit) reap() Status {
	var status Status
	for {
		var w unix.WaitStatus
		pid, err := unix.Wait4(-1, &w, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == i.pid {
			status = Status{Code: w.ExitStatus()}
			if w.Signaled() {
				status = Status{Code: -1, Signal: int(w.Signal())}
			}
			break
		}
	}
	i.sweep()
	i.mu.Lock()
	defer i.mu.Unlock()
	status.Reason = i.reason
	return status
}

// sweep kills all that the program has left behind. Whose parent dies becomes init's child, so children are killed until
// there are none.
func (i *boxInit) sweep() {
	for {
		if i.alone() {
			_ = unix.Kill(-1, unix.SIGKILL)
		} else {
			for _, pid := range children(os.Getpid()) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			return
		}
	}
}

// finish hands over what the program has made and how it has ended.
func (i *boxInit) finish(status Status) error {
	if status.OK() && i.order.Box.HasCollect {
		if err := i.collect(); err != nil {
			return err
		}
	}
	return i.say(answer{Status: status})
}

// collect copies one file out. No link is followed anywhere on its path: without mounts of its own the program could
// point at what it may not read.
func (i *boxInit) collect() error {
	box := i.order.Box
	fd, err := unix.Openat2(unix.AT_FDCWD, box.Collect, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return fmt.Errorf("output %s: %w", filepath.Base(box.Collect), err)
	}
	from, to := os.NewFile(uintptr(fd), box.Collect), os.NewFile(collectFD, "collect")
	info, err := from.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("output %s is not a file", filepath.Base(box.Collect))
	case info.Size() > box.CollectMax:
		return fmt.Errorf("output %s is %d bytes, at most %d are taken", filepath.Base(box.Collect), info.Size(), box.CollectMax)
	}
	if _, err := io.Copy(to, io.LimitReader(from, box.CollectMax)); err != nil {
		return fmt.Errorf("output %s: %w", filepath.Base(box.Collect), err)
	}
	return nil
}
