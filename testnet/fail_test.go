//go:build unix

package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAnUpThatFailsLeavesNothing(t *testing.T) {
	runtimeDir := sockets(t)
	cell := echoCell(t)
	script := filepath.Join(t.TempDir(), "cellnode")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho first >&2\necho the disk is full >&2\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, fails := range map[string]struct {
		ctx  context.Context
		cfg  Config
		want string
	}{
		"no node":            {t.Context(), Config{Binary: binary}, "0 nodes: choose 1 to 512"},
		"too many instances": {t.Context(), Config{Binary: binary, Nodes: 1, Cells: []Cell{{cell, "v1", 2}}}, "2 instances do not fit on 1 nodes"},
		"a tag that is not":  {t.Context(), Config{Binary: binary, Nodes: 1, Cells: []Cell{{cell, "v2", 1}}}, "name a git repository on this machine and a tag of it"},
		"no such command":    {t.Context(), Config{Binary: script + "s", Nodes: 1}, "no such file"},
		"a node that dies":   {t.Context(), Config{Binary: script, Nodes: 2}, "node 1 ended by itself (exit status 7): first; the disk is full"},
		"a cancelled start":  {cancelled, Config{Binary: binary, Nodes: 2}, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			fails.cfg.Dir = filepath.Join(t.TempDir(), "net")
			_, err := Up(fails.ctx, fails.cfg)
			if err == nil || !strings.Contains(err.Error(), fails.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, fails.want)
			}
			if _, err := os.Stat(fails.cfg.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its directory is there: %v", err)
			}
		})
	}
	if left, err := os.ReadDir(runtimeDir); err != nil || len(left) != 0 {
		t.Errorf("left of their sockets: %v, %v", left, err)
	}
}

func TestADirectoryInUseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.tex")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), Config{Dir: dir, Binary: binary, Nodes: 1}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// bystander is a process that has nothing to do with the network, or everything. It returns once the shell has run
// first.
func bystander(t *testing.T, first string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", first+"; echo; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// recorded is a network of one node that another process has started.
func recorded(t *testing.T, pid int, started uint64) *Net {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "net")
	home := filepath.Join(dir, "n1", "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(state{Nodes: []Node{{Index: 1, Home: home, PID: pid, Started: started, State: stateRunning}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAProcessThatHasTakenThePIDOfANodeIsNotKilled(t *testing.T) {
	cmd := bystander(t, "true")
	started := startTime(cmd.Process.Pid)
	if started == 0 {
		t.Skip("this system does not say when a process was started")
	}
	n := recorded(t, cmd.Process.Pid, started-1)
	if list := n.Running(); len(list) != 0 {
		t.Errorf("running: %+v", list)
	}
	if err := n.Kill(1); err == nil || !strings.Contains(err.Error(), "node 1 does not run") {
		t.Errorf("kill: %v", err)
	}
	if err := n.Down(t.Context()); err != nil {
		t.Error(err)
	}
	if !alive(cmd.Process.Pid, started) {
		t.Error("the bystander is dead")
	}

	// The same process, if it is the node.
	n = recorded(t, cmd.Process.Pid, started)
	if err := n.Stop(1, 10*time.Second); err != nil {
		t.Error(err)
	}
	if alive(cmd.Process.Pid, started) {
		t.Error("the node still runs")
	}
	if state := n.Nodes()[0].State; state != stateStopped {
		t.Errorf("it is %s", state)
	}
}

func TestANodeThatDoesNotLeaveIsKilledAfterItsGrace(t *testing.T) {
	cmd := bystander(t, "trap '' TERM")
	n := recorded(t, cmd.Process.Pid, startTime(cmd.Process.Pid))
	if err := n.Stop(1, 50*time.Millisecond); err != nil {
		t.Error(err)
	}
	if state := n.Nodes()[0].State; state != stateKilled {
		t.Errorf("it is %s", state)
	}
}

func TestADamagedFileIsNamedWithTheWayOut(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "start one with") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "end what runs there by hand") {
		t.Errorf("error %v", err)
	}
}

func TestBuildsOfTwoCellsNeverShareAName(t *testing.T) {
	names := map[string]string{}
	for _, cell := range [][2]string{
		{"/a/exchange", "v1"}, {"/b/exchange", "v1"}, {"/a/exchange", "v2"}, {"/a/exchange", "release/v1"}, {"/a/exchange", "release-v1"},
	} {
		name := buildName(cell[0], cell[1])
		if other, taken := names[name]; taken || strings.ContainsRune(name, filepath.Separator) {
			t.Errorf("%v is built as %s, as %s is", cell, name, other)
		}
		names[name] = strings.Join(cell[:], "@")
	}
}
