//go:build linux && netns

package netns

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

const (
	cellRepository = "https://example.org/acme/echo"
	cellName       = "example.org/acme/echo@v1"
	cellTag        = "v1"
)

// echoService answers every connection with what it is sent.
const echoService = `package main

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
			panic(err)
		}
		go io.Copy(c, c)
	}
}
`

// echoCell is a git repository of a cell whose service has no dependencies; empty, the cell names no other repository.
func echoCell(t *testing.T, repository string) string {
	t.Helper()
	dir := t.TempDir()
	if repository != "" {
		repository = "repository = \"" + repository + "\"\n"
	}
	for name, text := range map[string]string{
		"Cell.toml": "[package]\nname = \"echo\"\n" + repository + "[health]\nkind = \"tcp\"\n",
		"go.mod":    "module example.org/acme/echo\n\ngo 1.26\n",
		"main.go":   echoService,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "."}, {"commit", "--quiet", "--message=first"}, {"tag", cellTag}} {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@localhost"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

// consumer is a user of the cell at a host of its own, who has the command and entry points.
type consumer struct {
	l      *lab
	host   *Host
	home   string
	entry  []string
	daemon string // CELL_DAEMON
}

func (l *lab) consumer(h *Host, entry ...string) *consumer {
	l.t.Helper()
	home, err := os.MkdirTemp(l.dir, "c")
	if err != nil {
		l.t.Fatal(err)
	}
	return &consumer{l, h, home, entry, "off"}
}

// command is the real command as the consumer runs it. It ends with ctx.
func (c *consumer) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := slices.Concat(c.host.Prefix(), []string{os.Getenv(binary)}, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = c.home
	cmd.Env = append(os.Environ(), "CELL_HOME="+c.home, "CELL_DAEMON="+c.daemon, "CELL_MDNS=false", "CELL_PORT_MAPPING=false",
		"CELL_BOOTSTRAP="+strings.Join(c.entry, ","), "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true")
	return cmd
}

// find runs `cellnode find --json` once. An exit code of 1 (none live) or 4 (unreachable) is an empty answer.
func (c *consumer) find(args ...string) (daemon.Reply, int) {
	c.l.t.Helper()
	ctx, cancel := context.WithTimeout(c.l.t.Context(), time.Minute)
	defer cancel()
	cmd := c.command(ctx, append([]string{"find", "--json", "--allow-open"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		c.l.t.Fatalf("find: %v\n%s", err, errs.String())
	}
	var reply daemon.Reply
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &reply); err != nil {
			c.l.t.Fatalf("find printed %q: %v", out.String(), err)
		}
	}
	return reply, cmd.ProcessState.ExitCode()
}

// finds runs find until it prints exactly these members, and returns how long that took.
func (c *consumer) finds(limit time.Duration, want []member, args ...string) time.Duration {
	c.l.t.Helper()
	var got []string
	return c.l.await(limit, "find prints "+strings.Join(peersOf(want), " "), func() bool {
		reply, _ := c.find(append(args, cellName)...)
		got = replied(reply)
		return slices.Equal(got, peersOf(want))
	}, func() string { return "it prints " + strings.Join(got, " ") })
}

func replied(r daemon.Reply) []string {
	var list []string
	for _, i := range r.Instances {
		list = append(list, i.Peer)
	}
	slices.Sort(list)
	return list
}

// watch is a running `cellnode watch --json`.
type watch struct {
	l    *lab
	mu   sync.Mutex
	last []string
}

// watch starts one, which ends with the test.
func (c *consumer) watch() *watch {
	c.l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.command(ctx, "watch", "--json", "--allow-open", cellName)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.l.t.Fatal(err)
	}
	w := &watch{l: c.l}
	done := make(chan error, 1)
	go func() { done <- w.read(out) }()
	c.l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.l.t.Errorf("watch: %v", err)
		}
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			c.l.t.Errorf("watch: %v", err)
		}
	})
	return w
}

func (w *watch) read(out io.Reader) error {
	for d := json.NewDecoder(out); ; {
		var r daemon.Reply
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		w.mu.Lock()
		w.last = replied(r)
		w.mu.Unlock()
	}
}

// shows waits until the last list that was printed is exactly these members, and returns how long that took.
func (w *watch) shows(limit time.Duration, want []member) time.Duration {
	w.l.t.Helper()
	now := func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.last
	}
	return w.l.await(limit, "watch prints "+strings.Join(peersOf(want), " "), func() bool { return slices.Equal(now(), peersOf(want)) },
		func() string { return "it prints " + strings.Join(now(), " ") })
}
