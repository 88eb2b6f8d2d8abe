//go:build !windows

package home

import (
	"io/fs"
	"syscall"
)

// hasModes says whether permission bits mean anything here.
const hasModes = true

func ownerOf(info fs.FileInfo) (uid int, known bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
