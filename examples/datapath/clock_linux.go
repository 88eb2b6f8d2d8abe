package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what a process has used in all its threads, those that have ended included, to the nanosecond: the
// clock that clock_getcpuclockid(3) names.
func processorTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
