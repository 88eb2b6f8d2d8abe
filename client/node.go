package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/manifest"
)

// A Node is a member of the network that a client asks beyond seeds: the machine's daemon, or a node in this process.
type Node interface {
	// Ways returns the node's ways of finding a cell. Seeds are instances that may know it.
	Ways(cell manifest.Cell, seeds []manifest.Seed) []find.Way
	// Stream opens a stream of cell/1 to a peer that cannot be dialled, on a direct connection that it is asked for at a
	// relay.
	Stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error)
	// Close ends the node, if it is this process's.
	Close() error
}

// A NodeMaker starts a node in this process, with entry points from the client's own files.
type NodeMaker func(ctx context.Context, h *home.Dir, log *slog.Logger) (Node, error)

var embedded struct {
	sync.Mutex
	make NodeMaker
}

// RegisterNode says how a client without a daemon gets a node of its own. Package overlay/embed calls it when it is
// imported.
func RegisterNode(m NodeMaker) {
	embedded.Lock()
	defer embedded.Unlock()
	embedded.make = m
}

func nodeMaker() NodeMaker {
	embedded.Lock()
	defer embedded.Unlock()
	return embedded.make
}

// lazyNode is the client's node, started when a search first needs it. No search waits for it.
type lazyNode struct {
	home *home.Dir
	log  *slog.Logger

	mu     sync.Mutex
	node   Node
	closed bool
}

func newLazyNode(h *home.Dir, log *slog.Logger) *lazyNode { return &lazyNode{home: h, log: log} }

func (l *lazyNode) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.node == nil {
		return nil
	}
	return l.node.Close()
}

// embeddedNode returns the node of this process. One that could not be started is tried again at the next call.
func (l *lazyNode) embeddedNode(ctx context.Context) (Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if l.node == nil {
		node, err := nodeMaker()(ctx, l.home, l.log)
		if err != nil {
			return nil, err
		}
		l.node = node
	}
	return l.node, nil
}

// errNoNode says why nobody was asked beyond seeds and cache.
var errNoNode = errors.New("none runs on this machine: start one with cellnode run, or import overlay/embed")

// ways are the ways of finding that need a node: those of the embedded one, which is started by the first of them that
// runs, after a pause, if there is none on the machine now; else the one way that asks the machine's.
func (l *lazyNode) ways(r *Resolved, only []string, after time.Duration) []find.Way {
	if nodeMaker() == nil && os.Getenv("CELL_DAEMON") == "off" {
		return nil
	}
	if command, _ := l.daemonCommand(); nodeMaker() == nil || daemonSocket(l.home) != "" || command != nil { // ask says the error
		return []find.Way{{Name: "node", Run: func(ctx context.Context, sink find.Sink) error {
			return l.ask(ctx, r, only, sink)
		}}}
	}
	var ways []find.Way
	for _, name := range []string{find.DHT, find.MDNS} {
		if len(only) == 0 || slices.Contains(only, name) {
			ways = append(ways, find.Way{Name: name, Run: func(ctx context.Context, sink find.Sink) error {
				if err := pause(ctx, after); err != nil {
					return err
				}
				return l.run(ctx, name, r, sink)
			}})
		}
	}
	return ways
}

// ask asks the machine's node, which may have come or gone since it was last asked, or in its place the embedded one.
func (l *lazyNode) ask(ctx context.Context, r *Resolved, only []string, sink find.Sink) error {
	socket, failed := daemonSocket(l.home), error(nil)
	if socket == "" {
		failed = l.startInstalled(ctx)
		socket = daemonSocket(l.home)
	}
	if socket != "" {
		return askDaemon(ctx, socket, r, only, sink)
	}
	if failed != nil {
		l.log.Warn("the machine's node cannot be asked", "err", failed)
	}
	switch {
	case nodeMaker() != nil:
	case failed != nil:
		return failed
	default:
		return errNoNode
	}
	var errs [2]error
	var wg sync.WaitGroup
	for n, name := range []string{find.DHT, find.MDNS} {
		if len(only) == 0 || slices.Contains(only, name) {
			wg.Go(func() { errs[n] = l.run(ctx, name, r, sink) })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func (l *lazyNode) run(ctx context.Context, name string, r *Resolved, sink find.Sink) error {
	node, err := l.embeddedNode(ctx)
	if err != nil {
		return err
	}
	for _, w := range node.Ways(r.Cell, r.seeds()) {
		if w.Name == name {
			return w.Run(ctx, sink)
		}
	}
	return errors.New("switched off in config.toml")
}

// stream has a node open a stream of cell/1: the machine's if one runs, else the one of this process.
func (l *lazyNode) stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	if socket := daemonSocket(l.home); socket != "" {
		return daemon.NewClient(socket).Stream(ctx, id, circuit)
	}
	if nodeMaker() == nil {
		return nil, link.ErrNoNode
	}
	node, err := l.embeddedNode(ctx)
	if err != nil {
		return nil, err
	}
	return node.Stream(ctx, id, circuit)
}

// daemonAuto reports whether the machine's node is to be looked for.
func daemonAuto() bool {
	v := os.Getenv("CELL_DAEMON")
	return v == "" || v == "auto"
}

// daemonSocket returns the socket of a node that answers on this machine, or an empty string. CELL_DAEMON is off, auto (the
// default) or a path.
func daemonSocket(h *home.Dir) string {
	switch v := os.Getenv("CELL_DAEMON"); v {
	case "off":
		return ""
	case "", "auto":
	default:
		return v
	}
	if h == nil {
		return ""
	}
	if path, err := h.SocketPath(daemon.Socket); err == nil && answers(path) {
		return path
	}
	running, _ := h.Running() // what is damaged is said by the local way
	for _, r := range running {
		if r.API != "" && answers(r.API) {
			return r.API
		}
	}
	return ""
}

// answers reports whether somebody listens on a socket: one that was killed leaves it behind.
func answers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// askDaemon takes what the machine's node pushes. An instance that the node no longer lists is probed by the tracker
// itself before it goes.
func askDaemon(ctx context.Context, socket string, r *Resolved, only []string, sink find.Sink) error {
	c := daemon.NewClient(socket)
	defer c.Close()
	q := daemon.Query{Repository: r.Cell.URL(), Tag: r.Cell.Tag, Only: only} // what runs there is judged here
	if t := r.trust(); t != nil {
		q.Publishers, q.Threshold = t.Keys, t.Threshold
	}
	if r.Locked != nil && r.Locked.Trust != nil {
		q.Document = r.Locked.Trust.Document
	}
	if r.Locked != nil {
		q.Seeds = daemon.NewSeeds(r.Locked.Seeds)
	}
	listed := map[peer.ID]uint64{}
	return c.Watch(ctx, q, func(reply daemon.Reply) error {
		now := map[peer.ID]uint64{}
		for _, i := range reply.Candidates(r.Cell, time.Now()) {
			now[i.Peer] = i.Record.Incarnation
			sink.Found(i)
		}
		for id, incarnation := range listed {
			if _, still := now[id]; !still {
				sink.Gone(find.Gone{Peer: id, Incarnation: incarnation})
			}
		}
		listed = now
		if reply.Settled {
			sink.Listed()
		}
		return nil
	})
}
