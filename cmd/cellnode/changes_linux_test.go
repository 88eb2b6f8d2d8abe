//go:build amd64 || arm64

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// shape says where a system call's path is.
type shape struct {
	name string
	fd   bool // the first argument is an open file
	path int  // the argument that is a path; relative ones begin at the argument before it, or the working directory
}

// shapes are the calls that change the disk. The older ones, that newer machines do without, are in oldShapes.
var shapes = map[uint64]shape{
	unix.SYS_OPENAT:    {name: "open", path: 1},
	unix.SYS_WRITE:     {name: "write", fd: true},
	unix.SYS_PWRITE64:  {name: "write", fd: true},
	unix.SYS_WRITEV:    {name: "write", fd: true},
	unix.SYS_FSYNC:     {name: "fsync", fd: true},
	unix.SYS_FDATASYNC: {name: "fsync", fd: true},
	unix.SYS_FTRUNCATE: {name: "truncate", fd: true},
	unix.SYS_FCHMOD:    {name: "chmod", fd: true},
	unix.SYS_FCHMODAT:  {name: "chmod", path: 1},
	unix.SYS_RENAMEAT:  {name: "rename", path: 1},
	unix.SYS_RENAMEAT2: {name: "rename", path: 1},
	unix.SYS_LINKAT:    {name: "link", path: 1},
	unix.SYS_SYMLINKAT: {name: "symlink", path: 2},
	unix.SYS_UNLINKAT:  {name: "unlink", path: 1},
	unix.SYS_MKDIRAT:   {name: "mkdir", path: 1},
	unix.SYS_UTIMENSAT: {name: "utimes", path: 1},
	unix.SYS_BIND:      {name: "bind", path: 1},
	unix.SYS_FALLOCATE: {name: "allocate", fd: true},
}

// change describes the change of the disk that a call is about to make below one of the roots, or is empty.
func (tr *trace) change(tid int, nr uint64, args [6]uint64) string {
	s, ok := shapes[nr]
	if !ok {
		s, ok = oldShapes[nr]
	}
	switch {
	case !ok:
		return ""
	case s.name == "open" && args[s.path+1]&(unix.O_CREAT|unix.O_TRUNC) == 0:
		return ""
	}
	var path string
	switch {
	case s.fd:
		path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(args[0])))
	case s.name == "bind":
		path = socketAt(tid, args[1], args[2])
	default:
		path = pathAt(tid, s, args)
	}
	for _, root := range tr.Roots {
		if rel, below := strings.CutPrefix(path, root+"/"); below {
			return s.name + " " + rel
		}
	}
	return ""
}

func pathAt(tid int, s shape, args [6]uint64) string {
	path, _, _ := bytes.Cut(memory(tid, args[s.path], 4096), []byte{0})
	if len(path) == 0 || filepath.IsAbs(string(path)) {
		return string(path)
	}
	from := fmt.Sprintf("/proc/%d/cwd", tid)
	if s.path > 0 && int32(args[s.path-1]) != unix.AT_FDCWD {
		from = fmt.Sprintf("/proc/%d/fd/%d", tid, int32(args[s.path-1]))
	}
	dir, _ := os.Readlink(from)
	return filepath.Join(dir, string(path))
}

// socketAt is the path in a struct sockaddr_un; other families have none.
func socketAt(tid int, address, length uint64) string {
	raw := memory(tid, address, min(length, unix.SizeofSockaddrUnix))
	if len(raw) < 3 || raw[0] != unix.AF_UNIX {
		return ""
	}
	path, _, _ := bytes.Cut(raw[2:], []byte{0})
	return string(path)
}

// memory is what a thread has at address: limit bytes, or fewer at the end of a mapping.
func memory(tid int, address, limit uint64) []byte {
	file, err := os.Open(fmt.Sprintf("/proc/%d/mem", tid))
	if err != nil {
		return nil
	}
	defer file.Close()
	raw := make([]byte, limit)
	n, _ := file.ReadAt(raw, int64(address))
	return raw[:n]
}
