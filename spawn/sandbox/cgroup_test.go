//go:build linux

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes the files of a system.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		at := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// An ordinary user's process under systemd stands in a group that has no room for others; the slice above has.
func TestAGroupOfVersion2IsMadeWhereControllersAreHandedDown(t *testing.T) {
	const slice = "sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice"
	root := machine(t, map[string]string{
		"proc/self/cgroup":                                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n",
		"proc/self/mountinfo":                             "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
		slice + "/cgroup.subtree_control":                 "cpu memory pids\n",
		slice + "/shell.scope/cgroup.subtree_control":     "\n",
		filepath.Dir(slice) + "/cgroup.subtree_control":   "cpu memory pids\n",
		"sys/fs/cgroup/user.slice/cgroup.subtree_control": "memory pids\n",
	})
	g, err := newCgroup(ownGroups(root), "exchange", Limits{Memory: 1 << 20, Pids: 10, CPUs: 1.5})
	if err != nil {
		t.Fatal(err)
	}
	dir := g.dirs[""]
	if g.version != 2 || filepath.Dir(dir) != filepath.Join(root, slice) || !strings.HasSuffix(dir, ".exchange") {
		t.Fatalf("version %d in %s", g.version, dir)
	}
	for file, want := range map[string]string{"memory.max": "1048576", "memory.swap.max": "0", "pids.max": "42", "cpu.max": "150000 100000"} {
		if data, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(data) != want {
			t.Errorf("%s is %q, %v; want %q", file, data, err, want)
		}
	}
	if g.outOfMemory() {
		t.Error("out of memory already")
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 1\noom_kill 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !g.outOfMemory() {
		t.Error("it is not seen that the kernel has killed")
	}
}

func TestAGroupOfVersion1HasAFolderAController(t *testing.T) {
	root := machine(t, map[string]string{
		"proc/self/cgroup": "8:pids:/\n4:memory:/outer/own\n1:cpu,cpuacct:/\n0::/\n",
		"proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"31 24 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n32 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/memory/outer/own/tasks": "", "sys/fs/cgroup/pids/tasks": "", "sys/fs/cgroup/cpu/tasks": "",
		"sys/fs/cgroup/unified/cgroup.subtree_control": "\n",
	})
	g, err := newCgroup(ownGroups(root), "exchange", Limits{Memory: 1 << 20, Pids: 10})
	if err != nil {
		t.Fatal(err)
	}
	if g.version != 1 || len(g.entries()) != 2 || !strings.HasPrefix(g.dirs["memory"], filepath.Join(root, "sys/fs/cgroup/memory/outer/own/")) {
		t.Errorf("version %d, %v", g.version, g.dirs)
	}
	if data, err := os.ReadFile(filepath.Join(g.dirs["memory"], "memory.limit_in_bytes")); err != nil || string(data) != "1048576" {
		t.Errorf("%q, %v", data, err)
	}
}

// Two containers may share a hierarchy and not see each other's processes.
func TestAGroupWhoseOwnerIsOutOfSightStaysWhileThatLives(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, groupPrefix+"99999999.1.exchange") // no process has such a number
	g := &cgroup{version: 2, dirs: map[string]string{"": dir}}
	if err := g.hold(dir); err != nil {
		t.Fatal(err)
	}
	clearGroups(parent)
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	g.held[0].Close() // as the kernel does for an owner that is killed
	clearGroups(parent)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group of a dead owner is left: %v", err)
	}
}

func TestWithoutControllersThereIsNoGroup(t *testing.T) {
	if g, err := newCgroup(ownGroups(machine(t, nil)), "exchange", Limits{}); err == nil {
		t.Errorf("%+v", g)
	}
}
