package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// bubblewrap lets the command bwrap make namespaces and mounts, and init run inside of them: distributions that forbid
// namespaces to ordinary programs allow them to this one.
func (l *launching) bubblewrap() error {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return &SetupError{err.Error()}
	}
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	args := []string{
		"bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session",
		"--dev", "/dev", "--proc", "/proc",
	}
	if l.box.Scratch != "" { // first, for what is seen may lie below it
		args = append(args, "--size", strconv.FormatInt(l.box.Limits.Disk, 10), "--tmpfs", l.box.Scratch)
	}
	args = append(args, "--ro-bind", own, own,
		// This executable may be linked to the system's libraries.
		"--ro-bind-try", "/lib", "/lib", "--ro-bind-try", "/lib64", "/lib64", "--ro-bind-try", "/usr/lib", "/usr/lib")
	if l.order.isolatesNetwork() {
		args = append(args, "--unshare-net")
	}
	for _, b := range l.order.Binds {
		args = append(args, map[bool]string{false: "--ro-bind", true: "--bind"}[b.Write], b.From, b.To)
	}
	l.cmd.Path, l.cmd.Args = path, append(args, "--", own, marker)
	return nil
}
