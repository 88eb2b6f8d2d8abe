//go:build !windows

package home

import (
	"errors"
	"io/fs"
	"syscall"
)

// isFull says whether the disk, or the user's share of it, is used up.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// hasModes says whether permission bits mean anything here.
const hasModes = true

func ownerOf(info fs.FileInfo) (uid int, known bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
