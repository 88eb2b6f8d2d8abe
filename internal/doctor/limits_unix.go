//go:build unix

package doctor

import "golang.org/x/sys/unix"

// openFiles is how many files a process may have open; Go raises the soft limit to the hard one at its start.
func openFiles() (uint64, bool) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return uint64(r.Max), true
}
