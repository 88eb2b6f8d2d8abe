package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
)

const (
	stateRunning = "running"
	stateKilled  = "killed"
	stateStopped = "stopped"
)

// Spec says what a node is. The zero value is a node without an instance.
type Spec struct {
	Repository string // path of a git repository: the node serves an instance of it
	Tag        string
	Command    []string // what serves the instance; nil means the program that the repository builds
	Listen     []string // multiaddrs; nil means UDP and TCP on a free port of 127.0.0.1
	Entry      []string // its entry points; nil means running nodes of the network
	// Prefix is a command that becomes the node's by exec, such as `nsenter --net=FILE`, which puts it into another
	// network namespace. It must not fork: its process is the node's. Empty means none.
	Prefix []string
	Env    []string
}

// child is a process that this process has to reap.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been reaped
}

// Add starts one more node and returns when its API answers.
func (n *Net) Add(ctx context.Context, spec Spec) (Node, error) {
	node, err := n.prepare(ctx, spec)
	if err != nil {
		return Node{}, err
	}
	return n.start(ctx, node)
}

// prepare gives a new node its index, directory and command.
func (n *Net) prepare(ctx context.Context, spec Spec) (Node, error) {
	var b *built
	if spec.Repository != "" {
		var err error
		if b, err = n.build(ctx, spec); err != nil {
			return Node{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	node := Node{Index: len(n.state.Nodes) + 1, Listen: spec.Listen, Entry: spec.Entry, Prefix: spec.Prefix, Env: spec.Env}
	if node.Entry == nil {
		node.Entry = n.entryPoints()
	}
	node.Home = filepath.Join(n.dir, fmt.Sprintf("n%d", node.Index), "home")
	if err := os.MkdirAll(node.Home, 0o700); err != nil {
		return Node{}, fmt.Errorf("testnet: %w", err)
	}
	node.Args, node.Dir = []string{"daemon", "start", "--foreground"}, node.Home
	if b != nil {
		node.Args, node.Dir = []string{"run", "--", b.binary}, b.checkout
		if spec.Command != nil {
			node.Args = append([]string{"run", "--"}, spec.Command...)
		}
		if err := n.grant(node.Home, b); err != nil {
			return Node{}, err
		}
	}
	if node.Listen == nil {
		node.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/tls"}
	}
	n.state.Nodes = append(n.state.Nodes, node)
	return node, n.save()
}

// start starts a node's process and returns when its API answers.
func (n *Net) start(ctx context.Context, node Node) (Node, error) {
	log, err := os.OpenFile(filepath.Join(filepath.Dir(node.Home), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Node{}, fmt.Errorf("testnet: %w", err)
	}
	defer log.Close()
	cmd := n.command(node)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = detached() // a Ctrl-C for us is not one for the network
	if err := cmd.Start(); err != nil {
		return Node{}, fmt.Errorf("testnet: %w", err)
	}
	kid := &child{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the state file says how it ended
		close(kid.done)
	}()
	node.PID, node.Started, node.State = cmd.Process.Pid, startTime(cmd.Process.Pid), stateRunning
	n.mu.Lock()
	n.kids[node.Index] = kid
	n.state.Nodes[node.Index-1] = node
	err = n.save()
	n.mu.Unlock()
	if err != nil {
		return Node{}, err
	}
	return n.awaitAPI(ctx, node, kid)
}

func (n *Net) command(node Node) *exec.Cmd {
	argv := slices.Concat(node.Prefix, []string{n.state.Binary}, node.Args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = node.Dir
	cmd.Env = append(os.Environ(), "CELL_HOME="+node.Home, "CELL_LISTEN="+strings.Join(node.Listen, ","), "CELL_MDNS=false",
		"CELL_BOOTSTRAP="+strings.Join(node.Entry, ","), "CELL_KEY=", "CELL_DAEMON=off", "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true")
	cmd.Env = append(append(cmd.Env, n.state.Env...), node.Env...)
	return cmd
}

// maxEntryPoints is how many of the network's nodes a new one is told.
const maxEntryPoints = 3

func (n *Net) entryPoints() []string {
	var list []string
	for _, node := range n.state.Nodes {
		if a := node.Bootstrap(); a != "" && node.State == stateRunning && len(list) < maxEntryPoints {
			list = append(list, a)
		}
	}
	return list
}

// awaitAPI returns when the node answers on its socket, and what it says of itself.
func (n *Net) awaitAPI(ctx context.Context, node Node, kid *child) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() { // a process that ends will never answer
		select {
		case <-kid.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	dir, err := home.At(node.Home)
	if err != nil {
		return Node{}, err
	}
	err = poll(ctx, fmt.Sprintf("node %d does not answer", node.Index), func() bool {
		node.API = findAPI(dir)
		if node.API == "" {
			return false
		}
		c := node.Client()
		defer c.Close()
		s, err := c.Status(ctx)
		if err != nil {
			return false
		}
		node.Peer, node.Addrs = s.Peer, s.Addrs
		for _, i := range s.Instances {
			node.Cell = i.Cell
		}
		return true
	})
	if err != nil {
		return Node{}, kid.explain(err, node)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state.Nodes[node.Index-1] = node
	return node, n.save()
}

// findAPI returns the socket of the one node that lives in a home directory.
func findAPI(dir *home.Dir) string {
	if path, err := dir.SocketPath(daemon.Socket); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	running, err := dir.Running()
	if err != nil {
		return "" // half written: the next look finds it whole
	}
	for _, r := range running {
		if r.API != "" {
			return r.API
		}
	}
	return ""
}

// Kill ends a node as a power cut would: with SIGKILL and no goodbye.
func (n *Net) Kill(index int) error { return n.end(index, stateKilled, syscall.SIGKILL, 0) }

// Stop asks a node to leave and waits until it has ended; after grace it is killed.
func (n *Net) Stop(index int, grace time.Duration) error {
	return n.end(index, stateStopped, syscall.SIGTERM, grace)
}

func (n *Net) end(index int, as string, sig syscall.Signal, grace time.Duration) error {
	node, err := n.Node(index)
	if err != nil {
		return err
	}
	if node.State != stateRunning {
		return fmt.Errorf("testnet: node %d does not run: it was %s", index, node.State)
	}
	if err := signal(node, sig); err != nil {
		return err
	}
	if sig == syscall.SIGTERM && !n.awaitEnd(node, grace) {
		if err := signal(node, syscall.SIGKILL); err != nil {
			return err
		}
		as = stateKilled
	}
	if !n.awaitEnd(node, 10*time.Second) {
		return fmt.Errorf("testnet: node %d (process %d) does not end", index, node.PID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state.Nodes[index-1].State = as
	return n.save()
}

func signal(node Node, sig syscall.Signal) error {
	if !alive(node.PID, node.Started) {
		return nil
	}
	if err := syscall.Kill(node.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("testnet: node %d: %w", node.Index, err)
	}
	return nil
}

func (n *Net) awaitEnd(node Node, limit time.Duration) bool {
	n.mu.Lock()
	kid := n.kids[node.Index]
	n.mu.Unlock()
	if kid != nil {
		select {
		case <-kid.done:
			return true
		case <-time.After(limit):
			return false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return poll(ctx, "", func() bool { return !alive(node.PID, node.Started) }) == nil
}

// downGrace is how long a node has to end by itself, and then how long the kernel has.
const downGrace = 10 * time.Second

// Down ends every node and removes the network's directory. It may be called more than once.
func (n *Net) Down(ctx context.Context) error {
	var errs []error
	nodes := n.Running()
	for _, node := range nodes {
		errs = append(errs, signal(node, syscall.SIGTERM))
	}
	for _, node := range nodes {
		if ctx.Err() == nil && n.awaitEnd(node, downGrace) {
			continue
		}
		errs = append(errs, signal(node, syscall.SIGKILL))
		if !n.awaitEnd(node, downGrace) {
			errs = append(errs, fmt.Errorf("testnet: node %d (process %d) does not end", node.Index, node.PID))
		}
	}
	for _, node := range n.Nodes() {
		if dir, err := home.At(node.Home); err == nil {
			errs = append(errs, dir.RemoveSockets())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(n.dir)
}

// poll calls done until it is true; when ctx ends first, the error says what did not come true.
func poll(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("testnet: %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// explain adds to an error what the node has last written, and that it has ended if it has.
func (c *child) explain(err error, node Node) error {
	select {
	case <-c.done:
		err = fmt.Errorf("testnet: node %d ended by itself (%v)", node.Index, c.cmd.ProcessState)
	default:
	}
	log, failed := os.ReadFile(filepath.Join(filepath.Dir(node.Home), "log"))
	if failed != nil {
		return errors.Join(err, failed)
	}
	return fmt.Errorf("%w%s", err, lastWords(log[max(0, len(log)-4096):]))
}
