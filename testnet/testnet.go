// Package testnet starts and steers many real cellnode processes on this machine: each has a directory and ports of its
// own on loopback, all meet in one network, and nothing of them is left when it is taken down. What it knows is kept in
// a file, so that one command can start a network, another kill a node of it, and a third end it.
package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/manifest"
)

// Config says what network to start.
type Config struct {
	// Dir holds everything; it must be empty or missing.
	Dir string
	// Binary is the cellnode command.
	Binary string
	// Nodes is the number of nodes, those with an instance included; 1 to 512.
	Nodes int
	// Cells are served by the last nodes, one instance each.
	Cells []Cell
	// Env is added to every node's environment.
	Env []string
	// Publisher signs the grants of instances whose cell names its publishers; nil serves open cells alone.
	Publisher crypto.PrivKey
}

// Cell is a cell of which the network has instances.
type Cell struct {
	Repository string // path of a git repository on this machine
	Tag        string
	Instances  int
}

const (
	stateFile = "testnet.json"
	maxNodes  = 512
	// startTimeout bounds the start of one node, from the process to its answering API.
	startTimeout = 30 * time.Second
)

// A Net is a running network. Its methods may be called by many goroutines of one process; processes that steer the
// same network take turns.
type Net struct {
	dir string

	building  sync.Mutex // one build at a time
	publisher crypto.PrivKey

	mu    sync.Mutex
	state state
	kids  map[int]*child // processes that this process started, by index
}

type state struct {
	Binary string   `json:"binary"`
	Env    []string `json:"env,omitempty"`
	Nodes  []Node   `json:"nodes"`
}

// Node is one node of a network.
type Node struct {
	Index   int      `json:"index"` // counts from 1 and is never given again
	Home    string   `json:"home"`  // its CELL_HOME
	PID     int      `json:"pid"`
	Started uint64   `json:"started,omitempty"` // the process's start time as the kernel counts it, so that a PID is not taken for another's
	Peer    string   `json:"peer"`
	Addrs   []string `json:"addrs"`
	API     string   `json:"api"`            // path of its socket
	Cell    string   `json:"cell,omitempty"` // repository@tag, if it has an instance
	State   string   `json:"state"`          // running, killed, stopped

	Args   []string `json:"args"`             // of the command that it runs
	Dir    string   `json:"dir"`              // where it runs
	Listen []string `json:"listen"`           // where it is told to listen
	Entry  []string `json:"entry"`            // the entry points that it is told
	Prefix []string `json:"prefix,omitempty"` // what its process is started through
	Env    []string `json:"env,omitempty"`    // of its own
}

// Client returns a client of the node's API, which the caller closes.
func (n Node) Client() *daemon.Client { return daemon.NewClient(n.API) }

// Bootstrap returns the node's address as an entry point for others, or an empty string if it takes no connections.
func (n Node) Bootstrap() string {
	for _, a := range n.Addrs {
		if filepath.Base(a) == "quic-v1" {
			return a + "/p2p/" + n.Peer
		}
	}
	return ""
}

// Up starts a network and returns when every node has joined it and every instance is announced. If that fails, all
// of it is ended and removed.
func Up(ctx context.Context, cfg Config) (_ *Net, err error) {
	if cfg.Nodes < 1 || cfg.Nodes > maxNodes {
		return nil, fmt.Errorf("testnet: %d nodes: choose 1 to %d", cfg.Nodes, maxNodes)
	}
	n, err := create(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Down(context.WithoutCancel(ctx)))
		}
	}()
	specs, err := plan(cfg)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs { // a build takes the machine; nodes that start beside it would be late
		if spec.Repository == "" {
			continue
		}
		if _, err := n.build(ctx, spec); err != nil {
			return nil, err
		}
	}
	if _, err := n.Add(ctx, specs[0]); err != nil {
		return nil, err
	}
	// A machine whose processor is all taken by nodes that start is one on which the others look dead.
	err = each(specs[1:], 2*runtime.GOMAXPROCS(0), func(spec Spec) error {
		node, err := n.Add(ctx, spec)
		if err != nil {
			return err
		}
		return n.nodeReady(ctx, node, true)
	})
	if err != nil {
		return nil, err
	}
	return n, n.ready(ctx)
}

// Restart kills every running node and starts them all again at once, as after a power cut: with the homes and addresses
// that they had. It returns when every node has joined the network and every instance is announced.
func (n *Net) Restart(ctx context.Context) error {
	nodes := n.Running()
	if err := each(nodes, len(nodes), func(node Node) error { return n.Kill(node.Index) }); err != nil {
		return err
	}
	err := each(nodes, len(nodes), func(node Node) error {
		if len(node.Addrs) > 0 {
			node.Listen = node.Addrs
		}
		_, err := n.start(ctx, node)
		return err
	})
	if err != nil {
		return err
	}
	return n.ready(ctx)
}

// each calls f for every element, so many at a time.
func each[T any](list []T, atOnce int, f func(T) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(list))
	slots := make(chan struct{}, max(atOnce, 1))
	for i, e := range list {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = f(e)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// plan returns what each node is: first those without an instance, then the instances.
func plan(cfg Config) ([]Spec, error) {
	var with []Spec
	for _, c := range cfg.Cells {
		for range c.Instances {
			with = append(with, Spec{Repository: c.Repository, Tag: c.Tag})
		}
	}
	if len(with) > cfg.Nodes {
		return nil, fmt.Errorf("testnet: %d instances do not fit on %d nodes", len(with), cfg.Nodes)
	}
	return append(make([]Spec, cfg.Nodes-len(with)), with...), nil
}

// Create makes a network without nodes, for Add: Nodes and Cells of the Config are not used.
func Create(cfg Config) (*Net, error) { return create(cfg) }

func create(cfg Config) (*Net, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("testnet: %s is not empty: take that network down, or choose another --dir", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	binary, err := filepath.Abs(cfg.Binary)
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	n := &Net{dir: dir, publisher: cfg.Publisher, state: state{Binary: binary, Env: cfg.Env}, kids: map[int]*child{}}
	return n, n.save()
}

// Open returns the network that lives in dir.
func Open(dir string) (*Net, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("testnet: no network in %s: start one with `cellnode testnet up`", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	n := &Net{dir: dir, kids: map[int]*child{}}
	if err := json.Unmarshal(data, &n.state); err != nil {
		return nil, fmt.Errorf("testnet: %s: %w: end what runs there by hand and remove the directory", filepath.Join(dir, stateFile), err)
	}
	return n, nil
}

// save writes the state; the lock is held, or nobody else knows n yet.
func (n *Net) save() error {
	data, err := json.MarshalIndent(n.state, "", "\t")
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	return manifest.WriteFile(filepath.Join(n.dir, stateFile), append(data, '\n'), 0o600)
}

// Nodes returns every node that was ever started, in the order of their indices. A running one whose process has ended
// by itself is reported as killed.
func (n *Net) Nodes() []Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := append([]Node(nil), n.state.Nodes...)
	for i := range list {
		if list[i].State == stateRunning && !alive(list[i].PID, list[i].Started) {
			list[i].State = stateKilled
		}
	}
	return list
}

// Running returns the nodes that run.
func (n *Net) Running() []Node {
	var list []Node
	for _, node := range n.Nodes() {
		if node.State == stateRunning {
			list = append(list, node)
		}
	}
	return list
}

// Node returns the node with this index.
func (n *Net) Node(index int) (Node, error) {
	for _, node := range n.Nodes() {
		if node.Index == index {
			return node, nil
		}
	}
	return Node{}, fmt.Errorf("testnet: there is no node %d: `cellnode testnet status` lists them", index)
}

// ready returns when every node knows others in the DHT and every instance is announced and read back.
func (n *Net) ready(ctx context.Context) error {
	nodes := n.Running()
	for _, node := range nodes {
		if err := n.nodeReady(ctx, node, len(nodes) > 1); err != nil {
			return err
		}
	}
	return nil
}

func (n *Net) nodeReady(ctx context.Context, node Node, others bool) error {
	return poll(ctx, fmt.Sprintf("node %d is not ready: see %s", node.Index, filepath.Join(filepath.Dir(node.Home), "log")), func() bool {
		c := node.Client()
		defer c.Close()
		s, err := c.Status(ctx)
		if err != nil || others && s.DHT.Peers == 0 {
			return false
		}
		for _, i := range s.Instances {
			a := i.Announced
			if !i.Ready || others && a != nil && !a.ReadBack && !a.ByOthers {
				return false
			}
		}
		return true
	})
}
