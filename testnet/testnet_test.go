//go:build unix

package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

// echoCell is a git repository of a cell whose service has no dependencies.
func echoCell(t *testing.T) string {
	t.Helper()
	return repository(t, map[string]string{
		"Cell.toml": "[package]\nname = \"echo\"\nrepository = \"https://example.org/acme/echo\"\n[health]\nkind = \"tcp\"\n[build]\npackage = \"./cmd/echo\"\n",
		"go.mod":    "module example.org/acme/echo\n\ngo 1.26\n",
		"cmd/echo/main.go": `package main

import (
	"io"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("unix", os.Getenv("CELL_SOCKET"))
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go io.Copy(c, c)
	}
}
`,
	})
}

// repository is a git repository with these files, at the tag v1.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "."}, {"commit", "--quiet", "--message=first"}, {"tag", "v1"}} {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@localhost"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

// sockets gives the nodes of a test a place for sockets that is looked at afterwards. Their own directories have paths
// that are too long.
func sockets(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

func TestANetworkLivesAndLeavesNothing(t *testing.T) {
	runtimeDir := sockets(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 60))
	n, err := Up(t.Context(), Config{Dir: dir, Binary: binary, Nodes: 3, Cells: []Cell{{Repository: echoCell(t), Tag: "v1", Instances: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	nodes := n.Nodes()
	defer func() {
		for _, node := range nodes {
			_ = signal(node, syscall.SIGKILL) // those that a failed test has left
		}
	}()
	for i, node := range nodes {
		if node.Index != i+1 || node.State != stateRunning || !alive(node.PID, node.Started) || (node.Cell != "") != (i > 0) {
			t.Errorf("node %+v", node)
		}
	}
	if got := found(t, nodes[0]); len(got) != 2 || !got[nodes[1].Peer] || !got[nodes[2].Peer] {
		t.Errorf("node 1 finds %v", got)
	}

	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, node := range n.Nodes() {
		if was := nodes[i]; node.PID == was.PID || node.Peer != was.Peer || !slices.Equal(node.Addrs, was.Addrs) {
			t.Errorf("after the restart %+v is %+v", was, node)
		}
	}
	nodes = n.Nodes()
	if got := found(t, nodes[0]); len(got) != 2 {
		t.Errorf("after the restart node 1 finds %v", got)
	}

	// Another process steers the same network.
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Kill(2); err != nil {
		t.Error(err)
	}
	if err := other.Kill(2); err == nil || !strings.Contains(err.Error(), "node 2 does not run: it was killed") {
		t.Errorf("a second kill: %v", err)
	}
	if err := other.Stop(3, 15*time.Second); err != nil {
		t.Error(err)
	}
	for i, want := range []string{stateRunning, stateKilled, stateStopped} {
		if node := other.Nodes()[i]; node.State != want || want != stateRunning && alive(node.PID, node.Started) {
			t.Errorf("node %d was %s and is %+v", i+1, want, node)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "n3", "log"))
	if err != nil || strings.Contains(string(log), "level=ERROR") || strings.Contains(string(log), "panic") {
		t.Errorf("node 3 has left with the log\n%s (%v)", log, err)
	}
	reopened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list := reopened.Running(); len(list) != 1 || list[0].Index != 1 {
		t.Errorf("the file says that these run: %+v", list)
	}
	added, err := reopened.Add(t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	nodes = append(nodes, added)
	if added.Index != 4 {
		t.Errorf("the next node is number %d", added.Index)
	}

	for range 2 {
		if err := reopened.Down(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, node := range nodes {
		if alive(node.PID, node.Started) {
			t.Errorf("node %d still runs", node.Index)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
	if left, err := os.ReadDir(runtimeDir); err != nil || len(left) != 0 {
		t.Errorf("left of its sockets: %v, %v", left, err)
	}
}

// The prefix has to be part of what is kept: a node that is restarted comes up where it was.
func TestANodeIsStartedThroughItsPrefix(t *testing.T) {
	sockets(t)
	n, err := Create(Config{Dir: filepath.Join(t.TempDir(), "net"), Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Down(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	entry := []string{"/ip4/127.0.0.1/udp/9/quic-v1/p2p/12D3KooWGmFFPD2hYf5TYqTQwaYuRW7FXyBJc1NZ3XpeZf1NEZkS"}
	node, err := n.Add(t.Context(), Spec{Prefix: []string{"env", "PLACED=here"}, Entry: entry})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(node.Entry, entry) {
		t.Errorf("its entry points are %v", node.Entry)
	}
	placed := func() bool {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n.Nodes()[0].PID))
		return errors.Is(err, os.ErrNotExist) || strings.Contains(string(environ), "\x00PLACED=here")
	}
	if !placed() {
		t.Error("it was started without its prefix")
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !placed() {
		t.Error("it was started again without its prefix")
	}
}

// found asks a node for the instances of the cell.
func found(t *testing.T, node Node) map[string]bool {
	t.Helper()
	c := node.Client()
	defer c.Close()
	reply, err := c.Find(t.Context(), daemon.Query{Repository: "https://example.org/acme/echo", Tag: "v1", TimeoutMS: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]bool{}
	for _, i := range reply.Instances {
		peers[i.Peer] = true
	}
	return peers
}
