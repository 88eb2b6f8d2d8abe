package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long init has for ending a box by itself before it is killed.
const killPatience = 2 * time.Second

// Start starts the program of a box with every layer that holds here. ctx bounds the start alone. The error is
// ErrNoLayers, a *SetupError, or ctx's; nothing is left running then.
func Start(ctx context.Context, box Box) (*Process, error) {
	if err := box.validate(); err != nil {
		return nil, err
	}
	box.Limits = box.Limits.withDefaults()
	layers := Probe()
	if err := fits(box, layers); err != nil {
		return nil, err
	}
	if box.Open {
		layers = Layers{Walls: WallsNone, Cgroup: layers.Cgroup}
	}
	return launch(ctx, box, layers, false)
}

// fits refuses boxes that these layers cannot hold.
func fits(box Box, layers Layers) error {
	switch {
	case box.Open && len(box.Layered) == 0:
		return nil
	case !layers.Enough():
		return ErrNoLayers
	case len(box.Layered) > 0 && !layers.Mounts():
		return &SetupError{"there are no layered folders without mounts of our own"}
	case box.Port != 0 && !box.Network && (layers.Landlock < 4 || !layers.Seccomp):
		return &SetupError{"one port and no other network needs Landlock 4 (Linux 6.7) and seccomp"}
	}
	return nil
}

// launching is a box between its description and its process.
type launching struct {
	box    Box
	layers Layers
	order  order
	cmd    *exec.Cmd
	group  *cgroup
	files  []*os.File // this process's copies of what init gets
	p      *Process
	status *os.File // what init says
}

func launch(ctx context.Context, box Box, layers Layers, probe bool) (*Process, error) {
	if !initCalled.Load() {
		return nil, &SetupError{"this program does not call sandbox.Init first in main"}
	}
	l := &launching{box: box, layers: layers}
	defer l.release()
	l.order = order{Walls: layers.Walls, Layers: layers, User: -1, Probe: probe, Box: box.plain()}
	if !box.Open {
		l.order.User = boxUser(box.Name, layers.Walls)
	}
	if layers.Cgroup > 0 {
		l.group, _ = newCgroup(ownGroups("/"), box.Name, box.Limits) // rlimits are left
	}
	l.order.Watch = l.group == nil && layers.Walls != WallsNone
	if err := l.prepare(); err != nil {
		l.abandon()
		return nil, err
	}
	if err := l.run(ctx); err != nil {
		return nil, err
	}
	return l.p, nil
}

// plain is what init has to know.
func (b Box) plain() plain {
	read := b.Read
	if b.Network {
		read = append(slices.Clone(read), public...)
	}
	return plain{
		Args: b.Args, Env: b.Env, Dir: b.dir(), Scratch: b.Scratch, Copy: b.Copy, Collect: b.Collect,
		Read: read, Write: b.Write, Sockets: b.Sockets, Layered: b.Layered, Devices: devices,
		Network: b.Network, Open: b.Open, HasReady: b.Ready != nil, HasCollect: b.Collect != "", TellDenied: b.Denied != nil,
		Port: b.Port, CollectMax: b.CollectMax, Limits: b.Limits,
	}
}

// prepare makes the command that starts init.
func (l *launching) prepare() error {
	control, controlTo, err := os.Pipe()
	if err != nil {
		return err
	}
	l.files = append(l.files, control)
	statusFrom, status, err := os.Pipe()
	if err != nil {
		controlTo.Close()
		return err
	}
	l.files = append(l.files, status)
	l.p = &Process{control: controlTo, layers: l.layers, done: make(chan struct{})}
	l.status = statusFrom
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	l.files = append(l.files, null)
	ready, collect := null, null
	if l.box.Ready != nil {
		ready = l.box.Ready
	}
	if l.box.CollectTo != nil {
		collect = l.box.CollectTo
	}
	if l.order.Binds, err = l.binds(); err != nil {
		return err
	}
	l.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"cellnode", marker}, Dir: "/", Env: []string{},
		Stdout: l.box.Stdout, Stderr: l.box.Stderr, WaitDelay: time.Second,
		ExtraFiles: []*os.File{control, status, ready, collect}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	return l.walls()
}

// walls sets what the kernel, or bubblewrap, does before init runs.
func (l *launching) walls() error {
	attr := l.cmd.SysProcAttr
	const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	switch l.layers.Walls {
	case WallsBubblewrap:
		if err := l.bubblewrap(); err != nil {
			return err
		}
	case WallsUser:
		attr.Cloneflags = namespaces | syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_DAC_OVERRIDE}
	case WallsRoot:
		attr.Cloneflags = namespaces
	}
	if l.order.isolatesNetwork() && attr.Cloneflags != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	if l.group == nil {
		return nil
	}
	if l.group.version == 1 {
		l.order.Cgroups = l.group.entries()
		return nil
	}
	dir, err := l.group.open()
	if err != nil {
		return err
	}
	l.files = append(l.files, dir)
	attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	return nil
}

// isolatesNetwork says whether the box has a network namespace: a port in one could not be reached from outside.
func (o order) isolatesNetwork() bool { return !o.Box.Network && o.Box.Port == 0 }

// binds resolves what is to be seen, the outer before the inner.
func (l *launching) binds() ([]bind, error) {
	var list []bind
	add := func(write bool, paths ...string) error {
		for _, path := range paths {
			from, err := filepath.EvalSymlinks(path)
			if err != nil && (write || !errors.Is(err, os.ErrNotExist)) {
				return &SetupError{err.Error()}
			}
			if err == nil {
				list = append(list, bind{From: from, To: path, Write: write})
			}
		}
		return nil
	}
	err := errors.Join(add(false, l.order.Box.Read...), add(true, l.box.Write...), add(true, l.box.Sockets...))
	if l.box.Copy != "" {
		err = errors.Join(err, add(false, l.box.Copy))
	}
	slices.SortStableFunc(list, func(a, b bind) int { return strings.Compare(a.To, b.To) })
	return list, err
}

// run starts init and waits until the program runs.
func (l *launching) run(ctx context.Context) error {
	l.p.kill = func() { _ = l.p.control.Close() }
	if err := l.cmd.Start(); err != nil {
		l.abandon()
		return &SetupError{err.Error()}
	}
	l.release()
	l.p.pid = l.cmd.Process.Pid
	l.p.kill = func() {
		_ = l.p.control.Close()
		time.AfterFunc(killPatience, func() { _ = l.cmd.Process.Kill() })
	}
	answers := make(chan answer, 2)
	go l.listen(answers)
	if err := json.NewEncoder(l.p.control).Encode(l.order); err != nil {
		l.p.kill()
	}
	select {
	case a := <-answers:
		if a.Started {
			go l.end(answers)
			return nil
		}
		l.p.kill()
		l.end(answers)
		return &SetupError{a.Error}
	case <-ctx.Done():
		l.p.kill()
		l.end(answers)
		return fmt.Errorf("sandbox: start %s: %w", l.box.Args[0], context.Cause(ctx))
	}
}

// listen passes on what init says. If that is nothing, init has died.
func (l *launching) listen(answers chan<- answer) {
	defer close(answers)
	decoder := json.NewDecoder(io.LimitReader(l.status, 64<<10))
	for said := 0; said < cap(answers); {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			answers <- answer{Error: "its init ended without a word", Status: Status{Code: -1, Reason: ReasonOwner}}
			return
		}
		if a.Denied != "" {
			l.box.Denied(a.Denied)
			continue
		}
		answers <- a
		said++
	}
}

// end waits for init, which is the last process of its box.
func (l *launching) end(answers <-chan answer) {
	a := <-answers
	_ = l.cmd.Wait()
	l.p.status = a.Status
	if a.Error != "" && a.Status.Reason == "" {
		l.p.err = &SetupError{a.Error}
	}
	if l.group != nil {
		if l.group.outOfMemory() && !a.Status.OK() {
			l.p.status.Reason = ReasonMemory
		}
		if n := l.group.refusedProcesses(); n > 0 && l.box.Denied != nil {
			l.box.Denied(fmt.Sprintf("processes and threads beyond %d (refused %d ×)", l.box.Limits.Pids, n))
		}
		l.group.remove()
	}
	_ = l.p.control.Close()
	l.status.Close()
	close(l.p.done)
}

// release closes this process's copies of what init has.
func (l *launching) release() {
	for _, f := range l.files {
		f.Close()
	}
	l.files = nil
}

// abandon takes back what was made for a box that is not started.
func (l *launching) abandon() {
	if l.group != nil {
		l.group.remove()
	}
	if l.p != nil {
		_ = l.p.control.Close()
		l.status.Close()
	}
}
