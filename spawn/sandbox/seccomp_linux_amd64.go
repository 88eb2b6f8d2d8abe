package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

var refusedHere = []named{
	{unix.SYS_IOPL, "iopl"},
	{unix.SYS_IOPERM, "ioperm"},
	{unix.SYS_MODIFY_LDT, "modify_ldt"},
	{unix.SYS_USELIB, "uselib"},
	{unix.SYS__SYSCTL, "_sysctl"},
	{unix.SYS_CREATE_MODULE, "create_module"},
}
