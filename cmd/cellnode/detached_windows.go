package main

import "syscall"

// detached puts a process into a group of its own: what interrupts us does not interrupt it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
