// Package settings runs a node as config.toml, the CELL_* variables and flags say: it reads them, gives the node entry
// points out of the seed lists of cells, and hands on what has changed when it is asked to read them again.
package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/overlay"
)

// Config says what node to run. Only Key must be set.
type Config struct {
	// Key is the node's identity.
	Key crypto.PrivKey
	// Home holds config.toml and the cache of seed lists; nil: the environment alone says what to do.
	Home *home.Dir
	// Above are layers over config.toml and the environment, such as flags; the last wins.
	Above []home.Layer
	// DialOnly leaves out listen and advertise: the node serves nothing.
	DialOnly bool
	// Log may be nil.
	Log *slog.Logger
}

func (c Config) read() (home.Config, error) {
	if c.Home != nil {
		return c.Home.Config(c.Above...)
	}
	return home.ParseConfig("environment", nil, append([]home.Layer{home.Environment(os.Getenv)}, c.Above...)...)
}

// A Node is an overlay.Node that follows its settings. Its methods may be called by any number of goroutines.
type Node struct {
	*overlay.Node
	cfg     Config
	started home.Config // what it was started with
	entries *entries
	closing sync.Once
	err     error

	mu  sync.Mutex // one Set at a time
	now home.Config
}

// Start reads the settings and starts a node; it waits for no other node and no repository. ctx bounds this call alone.
// If Start fails, nothing is left running.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := cfg.read()
	if err != nil {
		return nil, err
	}
	c, err := nodeConfig(cfg, s)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, started: s, now: s}
	if n.Node, err = overlay.New(ctx, c); err != nil {
		return nil, err
	}
	n.entries = newEntries(cfg, s.Cells(), n.DHTPeers, n.give)
	n.entries.start()
	return n, nil
}

// nodeConfig says what the settings mean for a node.
func nodeConfig(cfg Config, s home.Config) (overlay.Config, error) {
	c := overlay.Config{
		Key: cfg.Key, Bootstrap: s.Peers(), NoDHT: s.DHT == home.DHTOff, Amino: s.DHT == home.DHTAmino,
		MDNS: s.MDNS, NoPortMapping: !s.PortMapping, Connections: s.Connections, Log: cfg.Log,
	}
	if cfg.Home != nil {
		c.KeepTrust = func(a *record.Authority) func() { return cfg.Home.KeepTrust(a, cfg.Log) }
	}
	if cfg.DialOnly {
		return c, nil
	}
	var err error
	if c.Listen, err = multiaddrs(s.Listen); err != nil {
		return overlay.Config{}, err
	}
	c.Advertise, err = multiaddrs(s.Advertise)
	return c, err
}

func multiaddrs(texts []string) ([]ma.Multiaddr, error) {
	var list []ma.Multiaddr
	for _, text := range texts {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("settings: address %q: %w", text, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// Reload reads the settings again and gives the node what of them can change while it runs; Notes of its status name the
// rest. Settings that are wrong change nothing: the error says what is wrong with them.
func (n *Node) Reload() error {
	s, err := n.cfg.read()
	if err != nil {
		return fmt.Errorf("%w; the settings stay as they were", err)
	}
	n.mu.Lock()
	n.now = s
	n.mu.Unlock()
	n.give()
	n.entries.follow(s.Cells())
	n.cfg.Log.Info("settings read again", "bootstrap", len(s.Bootstrap), "advertise", len(s.Advertise))
	for _, note := range n.waiting(s) {
		n.cfg.Log.Warn(note)
	}
	return nil
}

// give tells the node the present settings and the seeds of the entry cells.
func (n *Node) give() {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, err := nodeConfig(n.cfg, n.now)
	if err != nil { // read has checked every address
		n.cfg.Log.Error("settings not taken", "err", err)
		return
	}
	seeds, notes := n.entries.known()
	n.Set(overlay.Settings{Bootstrap: c.Bootstrap, Advertise: c.Advertise, Seeds: seeds, Notes: append(n.waiting(n.now), notes...)})
}

// waiting says what has changed and cannot be taken by a running node.
func (n *Node) waiting(s home.Config) []string {
	keys := home.Restart(n.started, s)
	if len(keys) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the settings of %s have changed and are taken at the next start", strings.Join(keys, " and "))}
}

// Close ends the node, and the reading of seed lists, and returns when they have ended. It may be called more than once.
func (n *Node) Close() error {
	n.closing.Do(func() { n.err = errors.Join(n.entries.close(), n.Node.Close()) })
	return n.err
}
