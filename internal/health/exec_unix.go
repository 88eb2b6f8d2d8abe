//go:build !windows

package health

import (
	"os/exec"
	"syscall"
)

// inGroup makes cmd's cancellation kill all that cmd has started, except for what has left the group. The group's number
// is free for others only once its processes are gone and the system has gone through all other numbers.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
