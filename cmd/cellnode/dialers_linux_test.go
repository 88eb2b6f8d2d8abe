package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

// Twenty programs dial the same cell at once where neither an instance nor the machine's node runs: they start one node,
// which makes one build and starts one instance.
func TestTwentyProgramsThatDialAMissingCell(t *testing.T) {
	if !sandbox.Probe().Enough() {
		t.Skip("there is no sandbox")
	}
	dir, err := os.MkdirTemp("", "d") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &matrix{t: t, dir: dir}
	m.write(filepath.Join(dir, "exchange", "Cell.toml"), "[package]\nname = \"exchange\"\n[build]\ncommand = [\"cp\", \"server\", \"out\"]\noutput = \"out\"\n")
	buildServer(t, filepath.Join(dir, "exchange", "server"))
	m.git(dir, "init", "--quiet", "exchange")
	tree := filepath.Join(dir, "exchange")
	m.git(tree, "add", ".")
	m.git(tree, "commit", "--quiet", "-m", "first")
	m.git(tree, "tag", "v1")
	m.write(filepath.Join(dir, "Cell.toml"), fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = \"v1\"\n[cell.exchange.policy]\nallow_open = true\nauto_spawn = true\n", tree))
	home := filepath.Join(dir, "h")
	t.Cleanup(func() { endDaemon(home) })
	env := append(environ(home), "CELL_DAEMON=auto")

	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() { m.dials(env, filepath.Join(dir, fmt.Sprintf("f%d", n))) })
	}
	wg.Wait()
	log, err := os.ReadFile(filepath.Join(home, "log", "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "msg=built "); n != 1 {
		t.Errorf("%d builds\n%s", n, log)
	}
	if out, errs, _ := m.command(env, dir, "ps"); strings.Count(out, "exchange") < 1 || strings.Count(out, "\n") != 2 {
		t.Errorf("what runs is\n%s%s", out, errs)
	}
}

// dials forwards a socket to the cell and reads what an instance says through it.
func (m *matrix) dials(env []string, socket string) {
	cmd := exec.Command("cellnode", "forward", "exchange", "unix:"+socket)
	cmd.Dir, cmd.Env = m.dir, env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		m.t.Error(err)
		return
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	var conn net.Conn
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
	}
	if err != nil {
		m.t.Error(err)
		return
	}
	defer conn.Close()
	if said, err := io.ReadAll(conn); err != nil || string(said) != "hello\n" {
		m.t.Errorf("it says %q, %v; %s", said, err, errs.String())
	}
}
