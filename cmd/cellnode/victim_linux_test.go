//go:build amd64 || arm64

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
)

// victim is the node that is killed.
type victim struct {
	repository string
	service    net.Listener
	homes      string // folder
	home       string // the one that is in use
	peer       string // whose it is, once that is on disk
	last       uint64 // incarnation
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Cell.toml"), []byte("[package]\nname = \"echo\"\n\n[health]\nkind = \"tcp\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "first"}, {"tag", "v1"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	homes, err := os.MkdirTemp("", "c") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(homes) })
	return &victim{repository: dir, service: l, homes: homes}
}

func (v *victim) command(t *testing.T) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("cellnode")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "run", "--allow-open", "--cell", v.repository+"@v1",
		"--commit", "8f3a000000000000000000000000000000000000", "--upstream", "tcp:"+v.service.Addr().String())
	cmd.Dir = v.repository
	cmd.Env = append(os.Environ(), "CELL_HOME="+v.home, "CELL_KEY=", "CELL_MDNS=false", "CELL_DHT=false", "CELL_BOOTSTRAP=",
		"CELL_LISTEN=/ip4/127.0.0.1/udp/0/quic-v1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	cmd.Stderr, err = os.Create(v.home + ".err")
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// registered waits until the node runs and has read its repository, or has ended, and returns what it says of itself. What
// the one before has left may be taken for its own while it begins, but for the number of the process.
func (v *victim) registered(ended <-chan struct{}, pid func() int) (home.Running, bool) {
	dir, err := home.At(v.home)
	if err != nil {
		return home.Running{}, false
	}
	for range time.Tick(5 * time.Millisecond) {
		list, err := dir.Running()
		seeds, _ := filepath.Glob(dir.Path("cache", "git", "seeds", "*.json"))
		if err == nil && len(list) == 1 && list[0].PID == pid() && len(seeds) == 1 {
			return list[0], true
		}
		select {
		case <-ended:
			return home.Running{}, false
		default:
		}
	}
	return home.Running{}, false
}

// life runs the node under tr until it is registered, then asks it to end.
func (v *victim) life(t *testing.T, tr *trace) (home.Running, syscall.WaitStatus) {
	t.Helper()
	cmd, ended := v.command(t), make(chan struct{})
	var status syscall.WaitStatus
	go func() {
		defer close(ended)
		var err error
		if status, err = tr.Run(cmd, patience); err != nil {
			t.Error(err)
		}
	}()
	running, _ := v.registered(ended, tr.Process)
	tr.Signal(syscall.SIGTERM)
	<-ended
	cmd.Stderr.(*os.File).Close()
	return running, status
}

// plan lists the changes of a whole life.
func (v *victim) plan(t *testing.T, fresh bool) []string {
	t.Helper()
	tr := &trace{Roots: []string{v.home}}
	if running, status := v.life(t, tr); running.Peer == "" || status.ExitStatus() != 0 {
		t.Fatalf("fresh %v: %+v, %v: %s", fresh, running, status, v.said(t))
	}
	v.look(t, "a whole life")
	return tr.Changes
}

func (v *victim) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(v.home + ".err")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kill runs the node to its death and says what it was killed at.
func (v *victim) kill(t *testing.T, tr *trace) string {
	t.Helper()
	_, status := v.life(t, tr)
	if !tr.Died {
		return fmt.Sprintf("a life of %d changes (%d wanted)", len(tr.Changes), tr.Kill)
	}
	what := fmt.Sprintf("a kill %s %q, change %d", tr.When, tr.Changes[len(tr.Changes)-1], tr.Kill)
	if status.Signal() != syscall.SIGKILL {
		t.Errorf("%s ended with %v", what, status)
	}
	return what
}

// check starts the node after a death.
func (v *victim) check(t *testing.T, what string) {
	t.Helper()
	v.look(t, what)
	cmd, ended := v.command(t), make(chan struct{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var err error
	go func() { err = cmd.Wait(); close(ended) }()
	running, ok := v.registered(ended, func() int { return cmd.Process.Pid })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	cmd.Stderr.(*os.File).Close()
	said := v.said(t)
	if !ok || err != nil || strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
		t.Errorf("after %s the next start: registered %v, %v:\n%s", what, ok, err, said)
	}
	v.look(t, "the start after "+what)
	if v.peer != running.Peer {
		t.Errorf("after %s the peer is %q, it was %q", what, running.Peer, v.peer)
	}
	for _, pattern := range []string{"*.json", "*.sock"} {
		if left, _ := filepath.Glob(filepath.Join(v.home, "run", pattern)); len(left) > 0 {
			t.Errorf("after %s and a life with a good end there are %v", what, left)
		}
	}
}
