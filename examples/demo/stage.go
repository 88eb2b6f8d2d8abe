package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/testnet"
)

const tag = "v1.3.0"

// demo is the stage: what has been set up so far.
type demo struct {
	began    time.Time
	nodes    int    // at the start
	serving  int    // of these, with an instance
	dir      string // everything lies below it
	binary   string // cellnode
	work     string // the cell's working tree
	gitHost  *exec.Cmd
	url      string // of the cell's repository at the git host
	cell     manifest.Cell
	commit   string
	trust    manifest.Trust // the cell's publisher
	signer   crypto.PrivKey // and its key
	print    string         // the interface's fingerprint
	consumer string         // the consumer's directory
	net      *testnet.Net
	client   *client.Client
	load     *load
	watchers *watchers
}

func newDemo(nodes, instances int) (*demo, error) {
	dir, err := os.MkdirTemp("", "cellnode-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{began: time.Now(), nodes: nodes, serving: instances, dir: dir, binary: filepath.Join(dir, "cellnode"), consumer: filepath.Join(dir, "consumer")}
	// The consumer's process is this one; a daemon of this machine must not help it.
	for name, value := range map[string]string{"CELL_DAEMON": "off", "CELL_HOME": filepath.Join(dir, "home"), "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING": "true"} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"CELL_BOOTSTRAP", "CELL_LISTEN", "CELL_ADVERTISE", "CELL_KEY", "CELL_FILE"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// close ends every process and removes every file.
func (d *demo) close() error {
	var errs []error
	if d.load != nil {
		d.load.end()
	}
	if d.watchers != nil {
		d.watchers.end()
	}
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	if d.net != nil {
		errs = append(errs, d.net.Down(context.Background()))
	}
	d.stopGit()
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

func (d *demo) printLogs(w io.Writer) {
	if d.net == nil {
		return
	}
	for _, n := range d.net.Nodes() {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(n.Home), "log"))
		fmt.Fprintf(w, "\n--- node %d (%s) %v\n%s", n.Index, n.State, err, data)
	}
}

// build builds cellnode, and the service once, so that its second build, at the tag, finds everything done.
func (d *demo) build(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	if err := run(ctx, "", "go", "build", "-o", d.binary, "./cmd/cellnode"); err != nil {
		return err
	}
	if err := run(ctx, "examples/exchange", "go", "build", "-o", os.DevNull, "./cmd/exchange"); err != nil {
		return err
	}
	d.say("cellnode and the service are built")
	return nil
}

// makeCell makes a git repository of examples/exchange, tags it and serves it over git.
func (d *demo) makeCell(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	d.url = fmt.Sprintf("git://127.0.0.1:%d/acme/exchange.git", port)
	if d.cell, err = manifest.NewCell(d.url, tag); err != nil {
		return err
	}
	if err := d.commitCell(ctx); err != nil {
		return err
	}
	if err := d.startGit(ctx, port); err != nil {
		return err
	}
	d.say("%s at %s, commit %.10s", d.url, tag, d.commit)
	d.say("CID %s", d.cell.ID())
	return nil
}

func (d *demo) commitCell(ctx context.Context) (err error) {
	d.work = filepath.Join(d.dir, "exchange")
	if err := os.CopyFS(d.work, os.DirFS("examples/exchange")); err != nil {
		return fmt.Errorf("run the demo from the root of the repository: %w", err)
	}
	// The demo's git host has an address of its own.
	path := filepath.Join(d.work, "Cell.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const published = "https://cell-hub.acme.com/acme/exchange"
	if !strings.Contains(string(text), published) {
		return fmt.Errorf("%s does not name %s", path, published)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), published, d.url)), 0o644); err != nil {
		return err
	}
	if err := d.publish(ctx, path); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "."},
		{"commit", "--quiet", "-m", "exchange: version 1.3.0"},
		{"tag", tag},
		{"clone", "--quiet", "--bare", ".", d.bare()},
	} {
		if err := d.git(ctx, d.work, args...); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "git", "-C", d.work, "rev-parse", "HEAD").Output()
	d.commit = strings.TrimSpace(string(out))
	return err
}

// publish makes a publisher of the cell, whose home is nobody else's.
func (d *demo) publish(ctx context.Context, path string) error {
	publisher := filepath.Join(d.dir, "publisher")
	cmd := exec.CommandContext(ctx, d.binary, "init", "--trust")
	cmd.Dir, cmd.Env = d.work, append(os.Environ(), "CELL_HOME="+publisher)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cellnode init --trust: %w\n%s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := manifest.ParseFile(path, text)
	if err != nil {
		return err
	}
	d.trust = *file.Trust
	d.signer, err = home.ReadKey(filepath.Join(publisher, "keys", "publisher"))
	return err
}

func (d *demo) bare() string { return filepath.Join(d.dir, "git", "acme", "exchange.git") }

func (d *demo) git(ctx context.Context, dir string, args ...string) error {
	identity := []string{"-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}
	return run(ctx, dir, "git", append(identity, args...)...)
}

// startGit serves the repository as any git host does.
func (d *demo) startGit(ctx context.Context, port int) error {
	d.gitHost = exec.Command("git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1",
		fmt.Sprintf("--port=%d", port), "--base-path="+filepath.Join(d.dir, "git"))
	d.gitHost.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has a child of its own
	if err := d.gitHost.Start(); err != nil {
		return err
	}
	return until(ctx, "the git host does not answer", func() bool {
		return exec.CommandContext(ctx, "git", "ls-remote", d.url).Run() == nil
	})
}

// stopGit ends the git host. It may be called more than once.
func (d *demo) stopGit() {
	if d.gitHost == nil || d.gitHost.Process == nil {
		return
	}
	if err := syscall.Kill(-d.gitHost.Process.Pid, syscall.SIGKILL); err == nil {
		d.gitHost.Wait() // killed: the error says just that
	}
	d.gitHost = nil
}

// freePort returns a port of loopback that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// until waits for a condition that somebody else brings about.
func until(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	return nil
}
