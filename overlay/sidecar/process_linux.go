package sidecar

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// reap returns when the first process has ended and its output is read. It waits without collecting the process first,
// so that the group's number cannot be given to others before the rest of the group is killed.
func (c *Command) reap() {
	for {
		err := unix.Waitid(unix.P_PID, c.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.endGroup()
	_ = c.cmd.Wait()
}
