//go:build !windows

package source

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the command into a session of its own: it has no terminal to ask for passwords on, and ending it ends
// the helpers that it started.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
