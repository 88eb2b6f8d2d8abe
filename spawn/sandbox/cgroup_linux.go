package sandbox

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is a group of processes with limits: one folder in version 2, one for each controller in version 1.
type cgroup struct {
	version int
	dirs    map[string]string // by controller; version 2 has one for all: ""
	held    []*os.File        // locks of the folders, by which others see that they have an owner
}

// controllers are those whose limits a box has.
var controllers = []string{"memory", "pids", "cpu"}

// hierarchy is where this process's own groups are, as /proc says.
type hierarchy struct {
	unified string            // version 2; empty: not mounted
	legacy  map[string]string // version 1, by controller
}

// ownGroups reads /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)) below root, which is / but in tests.
func ownGroups(root string) hierarchy {
	h := hierarchy{legacy: map[string]string{}}
	own := map[string]string{}
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			for _, c := range strings.Split(parts[1], ",") {
				own[c] = parts[2]
			}
		}
	}
	mounts, _ := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if len(where) < 5 || len(what) < 3 {
			continue
		}
		at := func(controller string) string {
			below, err := filepath.Rel(where[3], own[controller])
			if err != nil || strings.HasPrefix(below, "..") {
				below = "." // the view of a container begins elsewhere
			}
			return filepath.Join(root, where[4], below)
		}
		switch what[0] {
		case "cgroup2":
			h.unified = at("")
		case "cgroup":
			for _, c := range strings.Split(what[2], ",") {
				if slices.Contains(controllers, c) {
					h.legacy[c] = at(c)
				}
			}
		}
	}
	return h
}

// groupNumber tells the groups of one process apart.
var groupNumber atomic.Int64

const groupPrefix = "cell."

// newCgroup makes a group with these limits where this user may, at least one that counts memory or processes.
func newCgroup(h hierarchy, name string, l Limits) (*cgroup, error) {
	base := fmt.Sprintf("%s%d.%d.%s", groupPrefix, os.Getpid(), groupNumber.Add(1), name)
	var failed error
	if parent := unifiedParent(h.unified); parent != "" {
		g := &cgroup{version: 2, dirs: map[string]string{"": filepath.Join(parent, base)}}
		if failed = g.create(l); failed == nil {
			return g, nil
		}
	}
	g := &cgroup{version: 1, dirs: map[string]string{}}
	for controller, parent := range h.legacy {
		if controller != "cpu" || l.CPUs > 0 {
			g.dirs[controller] = filepath.Join(parent, base)
		}
	}
	if g.dirs["memory"] == "" || g.dirs["pids"] == "" {
		return nil, errors.Join(failed, errors.New("no controllers of memory and processes"))
	}
	if err := g.create(l); err != nil {
		return nil, errors.Join(failed, err)
	}
	return g, nil
}

// unifiedParent is the nearest group, own or above, whose children have controllers of memory and processes. A group
// with processes in it cannot hand controllers down, so for an ordinary process under systemd it is the slice above.
func unifiedParent(own string) string {
	for dir := own; dir != "" && strings.Contains(dir, "/"); dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err != nil {
			return ""
		}
		has := strings.Fields(string(data))
		if slices.Contains(has, "memory") && slices.Contains(has, "pids") {
			return dir
		}
	}
	return ""
}

func (g *cgroup) create(l Limits) error {
	for controller, dir := range g.dirs {
		clearGroups(filepath.Dir(dir))
		if err := g.hold(dir); err != nil {
			g.remove()
			return err
		}
		for file, value := range g.settings(controller, l) {
			err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o600)
			optional := file == "memory.swap.max" || file == "memory.oom.group" || file == "memory.memsw.limit_in_bytes" || file == "cpu.max"
			if err != nil && !optional {
				g.remove()
				return err
			}
		}
	}
	return nil
}

// hold makes a folder and locks it.
func (g *cgroup) hold(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	g.held = append(g.held, file)
	return unix.Flock(int(file.Fd()), unix.LOCK_SH)
}

// period is what processor time is counted out in, in microseconds.
const period = 100_000

// settings are the files of a controller's folder and what is written to them.
func (g *cgroup) settings(controller string, l Limits) map[string]string {
	memory, pids := strconv.FormatInt(l.Memory, 10), strconv.Itoa(l.Pids+32) // as for RLIMIT_NPROC
	quota := strconv.FormatInt(int64(l.CPUs*period), 10)
	switch controller {
	case "":
		all := map[string]string{"memory.max": memory, "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": pids}
		if l.CPUs > 0 {
			all["cpu.max"] = quota + " " + strconv.Itoa(period)
		}
		return all
	case "memory":
		return map[string]string{"memory.limit_in_bytes": memory}
	case "pids":
		return map[string]string{"pids.max": pids}
	}
	return map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": quota}
}

// open returns the folder that a process is started into; version 2 alone.
func (g *cgroup) open() (*os.File, error) { return os.Open(g.dirs[""]) }

// entries are the files that a process enters the groups by; version 1 alone.
func (g *cgroup) entries() []string {
	var list []string
	for _, dir := range g.dirs {
		list = append(list, filepath.Join(dir, "cgroup.procs"))
	}
	return list
}

// outOfMemory says whether the kernel has killed a process of the group for its memory.
func (g *cgroup) outOfMemory() bool {
	file := filepath.Join(g.dirs["memory"], "memory.oom_control")
	if g.version == 2 {
		file = filepath.Join(g.dirs[""], "memory.events")
	}
	data, _ := os.ReadFile(file)
	for line := range bytes.Lines(data) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			return string(bytes.TrimSpace(count)) != "0"
		}
	}
	return false
}

// refusedProcesses is how often the group was full.
func (g *cgroup) refusedProcesses() int {
	data, _ := os.ReadFile(filepath.Join(cmp.Or(g.dirs["pids"], g.dirs[""]), "pids.events"))
	for line := range bytes.Lines(data) {
		if count, ok := bytes.CutPrefix(line, []byte("max ")); ok {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(count)))
			return n
		}
	}
	return 0
}

// removePatience bounds the wait for the kernel to forget the last process of a group.
const removePatience = 2 * time.Second

// remove takes the group away; its processes have ended. So does what owners have left that were killed.
func (g *cgroup) remove() {
	for _, file := range g.held {
		file.Close()
	}
	for _, dir := range g.dirs {
		for wait := time.Millisecond; wait < removePatience; wait *= 2 {
			if err := os.Remove(dir); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(wait) //allow:sleep a group is busy until its last process is forgotten, and nothing tells of that
		}
		clearGroups(filepath.Dir(dir))
	}
}

// clearGroups removes the empty groups of owners that were killed. An owner whose process is not in sight may live in another
// namespace of processes, as in a container: it has the lock.
func clearGroups(parent string) {
	names, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, dir := range names {
		owner, err := strconv.Atoi(strings.Split(filepath.Base(dir), ".")[1])
		if err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", owner)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		file, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(dir) // a group with processes stays
		}
		file.Close()
	}
}
