package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
	_ "github.com/cellnode/cellnode/overlay/embed" // the client carries a node of its own, see the path "embedded node"
)

// A stage is all servers of the paths, each in a process of its own. The client of all paths is this process.
type stage struct {
	dir       string
	binary    string // of cellnode
	plain     *plainAddrs
	libp2p    *nodeAddrs  // of the server behind the punched path
	node      *libp2pNode // the client's part of that
	processes []*exec.Cmd
	cleanup   []func()
}

// newStage starts the servers and registers the cells.
func newStage(ctx context.Context, binary string) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	dir, remove, err := shortDir()
	if err != nil {
		return nil, err
	}
	s.dir = dir
	s.atEnd(remove)
	s.plain, s.libp2p = new(plainAddrs), new(nodeAddrs)
	var node, nodeQUIC nodeAddrs
	for kind, addrs := range map[string]any{"plain": s.plain, "node": &node, "node-quic": &nodeQUIC, "libp2p": s.libp2p} {
		if err := s.start(kind, addrs); err != nil {
			return nil, err
		}
	}
	if s.node, err = newLibp2pNode(); err != nil {
		return nil, err
	}
	s.atEnd(s.node.close)
	own := filepath.Join(s.dir, "own") // the client's home: what runs there is on its machine
	for key, value := range map[string]string{
		"CELL_HOME": own, "CELL_DAEMON": "off", "CELL_MDNS": "false", "CELL_BOOTSTRAP": node.Addrs[0], "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING": "true",
	} {
		if err := os.Setenv(key, value); err != nil {
			return nil, err
		}
	}
	register("direct", node.seed())
	register("direct-quic", nodeQUIC.seed())
	register("embedded")
	register("membrane")
	if _, err := s.sidecar(ctx, "membrane", own, bothListen); err != nil {
		return nil, err
	}
	for name, listen := range map[string]string{"sidecar": bothListen, "sidecar-quic": quicListen} {
		seed, err := s.sidecar(ctx, name, filepath.Join(s.dir, name), listen)
		if err != nil {
			return nil, err
		}
		register(name, seed)
	}
	return s, nil
}

// commit is what the instances say that they run.
const commit = "c0ffee0000000000000000000000000000000000"

// What a sidecar listens on.
const (
	quicListen = "/ip4/127.0.0.1/udp/0/quic-v1"
	bothListen = quicListen + ",/ip4/127.0.0.1/tcp/0/tls"
)

func register(name string, seeds ...client.Seed) {
	c := cellOf(name)
	client.Register(client.Registration{Name: name, Repository: c.Repository, Tag: c.Tag, AllowOpen: true, Seeds: seeds})
}

func (a *nodeAddrs) seed() client.Seed { return client.Seed{Peer: a.Peer, Addrs: a.Cells} }

func (s *stage) atEnd(f func()) { s.cleanup = append(s.cleanup, f) }

// close ends what the stage has begun, the last first.
func (s *stage) close() {
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		s.cleanup[i]()
	}
	s.cleanup = nil
}

// start starts a server process of our own and reads where it listens.
func (s *stage) start(kind string, addrs any) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "serve-"+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.launch(cmd, func() { in.Close() }); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("server %s: %w", kind, err)
	}
	return json.Unmarshal(line, addrs)
}

// launch starts a process; at the end stop has it end.
func (s *stage) launch(cmd *exec.Cmd, stop func()) error {
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	s.atEnd(func() {
		stop()
		cmd.Wait()
	})
	return nil
}

// sidecar runs the command before the plain server's Unix socket, and returns when its API says where it listens.
func (s *stage) sidecar(ctx context.Context, name, folder, listen string) (client.Seed, error) {
	c := cellOf(name)
	cmd := exec.Command(s.binary, "run", "--upstream", "unix:"+s.plain.Unix, "--cell", c.String(), "--commit", commit, "--allow-open")
	cmd.Env = append(os.Environ(), "CELL_HOME="+folder, "CELL_LISTEN="+listen)
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return client.Seed{}, err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := s.launch(cmd, func() { cmd.Process.Signal(syscall.SIGTERM) }); err != nil {
		return client.Seed{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := home.At(folder)
	if err != nil {
		return client.Seed{}, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := statusIn(ctx, dir)
		if err == nil {
			return client.Seed{Peer: status.Peer, Addrs: status.Listen}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			said, _ := os.ReadFile(log.Name()) // it is no worse an error without it
			return client.Seed{}, fmt.Errorf("cellnode run of %s: %w\n%s", name, err, said)
		}
	}
}

var errNotYet = errors.New("no instance runs yet")

// statusIn asks the instance that runs in a home.
func statusIn(ctx context.Context, dir *home.Dir) (daemon.Status, error) {
	running, err := dir.Running()
	if err != nil {
		return daemon.Status{}, err
	}
	if len(running) == 0 {
		return daemon.Status{}, errNotYet
	}
	c := daemon.NewClient(running[0].API)
	defer c.Close()
	return c.Status(ctx)
}

// shortDir is a folder with a path short enough for sockets.
func shortDir() (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "d"); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
