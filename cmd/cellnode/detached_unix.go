//go:build unix

package main

import "syscall"

// detached puts a process into a session of its own: what interrupts us does not interrupt it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
