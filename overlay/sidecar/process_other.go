//go:build !linux && !windows

package sidecar

import "syscall"

// dieWithParent does nothing: there is no such call here.
func dieWithParent(*syscall.SysProcAttr) {}

// reap returns when the first process has ended and its output is read.
func (c *Command) reap() {
	_ = c.cmd.Wait()
	c.endGroup()
}
