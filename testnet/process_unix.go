//go:build unix

package testnet

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// detached puts a process into a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// alive reports whether the process that was started at this time runs. A zombie has ended.
func alive(pid int, started uint64) bool {
	if pid <= 0 || syscall.Kill(pid, 0) != nil {
		return false
	}
	state, at := procStat(pid)
	if at == 0 { // no /proc on this system
		return true
	}
	return state != 'Z' && (started == 0 || at == started)
}

// startTime returns a process's start time in the kernel's ticks since boot, or 0 where that cannot be read.
func startTime(pid int) uint64 {
	_, at := procStat(pid)
	return at
}

// procStat reads the state and the start time of a process from /proc (proc(5), fields 3 and 22).
func procStat(pid int) (state byte, started uint64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// The command's name stands in parentheses and may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0
	}
	started, err = strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0, 0
	}
	return fields[0][0], started
}
