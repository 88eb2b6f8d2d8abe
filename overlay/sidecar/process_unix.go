//go:build !windows

package sidecar

import (
	"runtime"
	"syscall"
)

// supervise starts the process and stays with it to its end. The thread is this goroutine's alone from before the start
// until after the end: on Linux the kernel takes the death of the thread that started a process for its parent's.
func (c *Command) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(c.cmd.SysProcAttr)
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	c.reap()
	c.mu.Lock()
	if !c.stopping {
		c.err = &ExitError{Program: c.cmd.Args[0], State: c.cmd.ProcessState, Tail: c.tail.String()}
	}
	c.mu.Unlock()
	close(c.done)
}

// terminate asks the group to end. SIGCONT wakes those that are stopped and would not hear it.
func (c *Command) terminate() { c.stop(syscall.SIGTERM, syscall.SIGCONT) }

// kill ends the group.
func (c *Command) kill() { c.stop(syscall.SIGKILL) }

func (c *Command) stop(signals ...syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.stopping = true
	for _, signal := range signals {
		_ = syscall.Kill(-c.cmd.Process.Pid, signal)
	}
}

// endGroup kills what is left of the group; after it the group's number is not used again.
func (c *Command) endGroup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
}
