package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent has a child end although this process is killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
