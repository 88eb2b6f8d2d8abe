package doctor

import (
	"time"

	"golang.org/x/sys/unix"
)

// kernelClock is the kernel's judgement of its own clock (adjtimex(2)): whether anybody disciplines it.
func kernelClock() (Finding, bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Finding{}, false // as under seccomp
	}
	const timeError = 5 // TIME_ERROR: not synchronised
	if state == timeError || t.Status&unix.STA_UNSYNC != 0 {
		return finding(Warning, "the kernel says that nothing keeps this machine's clock true", "sudo timedatectl set-ntp true"), true
	}
	off := time.Duration(t.Maxerror) * time.Microsecond
	return finding(OK, "the kernel says that this clock is kept true, to "+off.Round(time.Millisecond).String(), ""), true
}
