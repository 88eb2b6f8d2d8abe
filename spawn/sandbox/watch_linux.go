package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often memory is added up where no cgroup does it. A program that takes a GiB a second is found
// within a few hundred MiB above its limit.
const watchEvery = 100 * time.Millisecond

// watch ends a box that uses more memory than it may.
func (i *boxInit) watch() {
	for range time.Tick(watchEvery) {
		if resident() > i.order.Box.Limits.Memory {
			i.end(ReasonMemory)
		}
	}
}

// resident adds up what the processes in sight hold in memory, but for this one, in bytes. Shared pages count for each.
func resident() int64 {
	var pages int64
	for _, pid := range pids() {
		if pid == os.Getpid() {
			continue
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := bytes.Fields(data); err == nil && len(fields) > 1 {
			n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			pages += n
		}
	}
	return pages * int64(os.Getpagesize())
}

// pids lists the processes in sight.
func pids() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// threads counts those of a user.
func threads(uid int) int {
	n := 0
	for _, p := range pids() {
		var stat unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d", p), &stat); err != nil || int(stat.Uid) != uid {
			continue
		}
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", p))
		n += len(tasks)
	}
	return n
}

// children lists the processes whose parent is pid.
func children(pid int) []int {
	var list []int
	for _, p := range pids() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		// pid (name) state parent …; the name may hold anything.
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) {
			list = append(list, p)
		}
	}
	return list
}
