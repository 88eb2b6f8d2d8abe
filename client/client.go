// Package client turns a cell's name into a connection to the nearest live instance of it.
//
//	conn, err := client.Dial(ctx, "exchange")
//
// A cell is one that an imported package has registered (cellnode remote generates such packages), or a name from the
// nearest Cell.toml (searched upwards from the working directory, then in CELL_FILE), or host/path@tag, or URL@tag.
// Instances are looked for in all ways at once: services on this machine, the seeds of
// Cell.lock and of the repository, those that answered last time, the machine's node if one runs, and the DHT if
// package overlay/embed is imported. The first that answers is used; those that die are pruned; a call never waits for
// a dead one.
//
// The package needs no libp2p host, swarm or DHT.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/source"
)

// Config configures a Client. The zero value is usable.
type Config struct {
	// Dir is where the search for Cell.toml begins; empty means the working directory.
	Dir string
	// Home is the directory that DESIGN calls ~/.cell; empty means CELL_HOME, else ~/.cell. It need not exist.
	Home string
	// AllowOpen takes cells that name no publishers: anybody can answer as an instance of such a cell. It goes for
	// cells named by their repository; a Cell.toml says it for each of its own (allow_open).
	AllowOpen bool
	// Only restricts the ways of finding: seed, cache, list, dht, mdns, local; empty means all. With list alone, the
	// instances that Cell.lock and the cache name are asked for their lists.
	Only []string
	// NoSpawn starts no cell here, whatever its policy says: for programs that only look.
	NoSpawn bool
	// Daemon is the command that starts the machine's node where a cell is to be started here and no node is installed, the
	// program first; empty: none.
	Daemon []string
	// Log may be nil.
	Log *slog.Logger
}

// A Client finds and dials cells. Connections, probes and what is known of each cell are shared by all its callers;
// its methods may be called by any number of goroutines.
type Client struct {
	cfg    Config
	home   *home.Dir // nil where there is none
	spare  string    // without a home that can be written: a directory for what git brings, removed by Close
	source *source.Source
	dialer *link.Dialer
	node   *lazyNode
	log    *slog.Logger

	verdicts verdicts

	mu     sync.Mutex
	names  map[string]*cell       // by what a call named it
	cells  map[find.Request]*cell // one for each cell, however it is written
	closed bool

	closing  sync.Once
	closeErr error
}

// ErrClosed is returned by calls to a Client that has been closed, and by those that are waiting then.
var ErrClosed = find.ErrClosed

// New returns a client. It opens nothing until a cell is asked for.
func New(cfg Config) (*Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := find.CheckWays(cfg.Only); err != nil {
		return nil, fmt.Errorf("client: Config.Only: %w", err)
	}
	c := &Client{cfg: cfg, log: cfg.Log, names: map[string]*cell{}, cells: map[find.Request]*cell{}}
	c.verdicts.slots = make(chan struct{}, maxComparing)
	var err error
	if c.home, err = openHome(cfg.Home); err != nil {
		return nil, err
	}
	if err := c.openSource(); err != nil {
		return nil, err
	}
	c.node = newLazyNode(c.home, cfg.Log)
	if c.dialer, err = link.NewDialer(link.DialerConfig{Warm: find.Warm, DialNode: c.node.stream, Log: cfg.Log}); err != nil {
		return nil, errors.Join(err, c.removeSpare())
	}
	return c, nil
}

// Close ends every search and gives back every idle connection. Connections in use over TCP and local sockets stay; those
// over QUIC end with the client's sockets. It returns when the client's goroutines have ended and may be called more
// than once.
func (c *Client) Close() error {
	c.closing.Do(func() { c.closeErr = c.close() })
	return c.closeErr
}

func (c *Client) close() error {
	c.mu.Lock()
	cells := c.cells
	c.names, c.cells, c.closed = nil, nil, true
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range cells {
		wg.Go(s.close)
	}
	wg.Wait()
	return errors.Join(c.dialer.Close(), c.node.close(), c.removeSpare())
}

// DialPeer opens a connection to the one instance of a cell with this peer ID.
func (c *Client) DialPeer(ctx context.Context, name, id string) (net.Conn, error) {
	s, err := c.cell(ctx, name)
	if err != nil {
		return nil, err
	}
	want, err := peer.Decode(id)
	if err != nil {
		return nil, fmt.Errorf("client: %q is not a peer ID: %w", id, err)
	}
	known := s.tracker.Snapshot()
	for {
		for _, i := range known.Instances {
			if i.Peer != want {
				continue
			}
			conn, err := s.tracker.Open(ctx, i)
			if err != nil {
				s.tracker.Failed(i)
			}
			return conn, err
		}
		if known, err = s.tracker.Next(ctx, known); err != nil {
			return nil, fmt.Errorf("client: instance %s of %s has not been found: %w", id, s.Cell, err)
		}
	}
}

// Settle returns when every way of finding the cell has been asked once and every candidate probed, or when ctx ends.
func (c *Client) Settle(ctx context.Context, name string) (Found, error) {
	s, err := c.cell(ctx, name)
	if err != nil {
		return Found{}, err
	}
	known, err := s.tracker.Settle(ctx)
	return Found{s.Cell, known}, err
}

// Check returns why a cell may not be called at all: it cannot be named, its files are at fault, or it is open and its
// consumer does not take such cells. Otherwise it begins to look for instances.
func (c *Client) Check(ctx context.Context, name string) error {
	_, err := c.cell(ctx, name)
	return err
}

// Watch calls each with what is known of the cell, at once and after each change, until ctx ends or each fails; it
// returns that error.
func (c *Client) Watch(ctx context.Context, name string, each func(Found) error) error {
	s, err := c.cell(ctx, name)
	if err != nil {
		return err
	}
	known := s.tracker.Snapshot()
	for {
		if err := each(Found{s.Cell, known}); err != nil {
			return err
		}
		if known, err = s.tracker.Next(ctx, known); err != nil {
			return err
		}
	}
}

// cell returns what the client knows of a cell, beginning to look for it if this is the first call.
func (c *Client) cell(ctx context.Context, name string) (*cell, error) {
	return c.cellFor(ctx, name, false)
}

// cellFor is cell, for a Dial if it is urgent.
func (c *Client) cellFor(ctx context.Context, name string, urgent bool) (*cell, error) {
	if s, err := c.named(name); s != nil || err != nil {
		return s, err
	}
	r, err := c.Resolve(name) // which reads files, as ways does: calls for other cells do not wait for that
	if err != nil {
		return nil, err
	}
	authority, err := c.authority(ctx, r)
	if err != nil {
		return nil, err
	}
	ways := c.ways(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	s := c.cells[r.request()]
	if s == nil {
		s = c.start(r, authority, ways, urgent)
		c.cells[r.request()] = s
	}
	c.names[name] = s
	return s, nil
}

// named returns the cell of that name if a call has named it before.
func (c *Client) named(name string) (*cell, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	return c.names[name], nil
}

// NoneError says that no live instance was found, and what each way and each candidate answered.
type NoneError = find.NoneError
