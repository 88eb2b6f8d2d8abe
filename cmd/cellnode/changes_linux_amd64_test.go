package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// oldShapes are calls that git makes, through an older C library.
var oldShapes = map[uint64]shape{
	unix.SYS_OPEN:    {name: "open"},
	unix.SYS_RENAME:  {name: "rename"},
	unix.SYS_LINK:    {name: "link"},
	unix.SYS_SYMLINK: {name: "symlink", path: 1},
	unix.SYS_UNLINK:  {name: "unlink"},
	unix.SYS_MKDIR:   {name: "mkdir"},
	unix.SYS_RMDIR:   {name: "rmdir"},
	unix.SYS_CHMOD:   {name: "chmod"},
}

// shorten halves the write that a thread is about to make, and reports whether there was something to halve.
func shorten(tid int, nr uint64, args [6]uint64) bool {
	var regs syscall.PtraceRegs
	if nr != unix.SYS_WRITE && nr != unix.SYS_PWRITE64 || args[2] < 2 || syscall.PtraceGetRegs(tid, &regs) != nil {
		return false
	}
	regs.Rdx = args[2] / 2
	return syscall.PtraceSetRegs(tid, &regs) == nil
}
