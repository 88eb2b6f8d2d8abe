package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
)

// errNoSpawner says why a cell is not started here.
var errNoSpawner = errors.New("client: the machine's node starts cells, and none runs here: run `cellnode daemon start`, or `cellnode daemon install` once")

// Spawn asks the machine's node, which is started if it does not run, for an instance on this machine. It calls progress,
// which may be nil, with each step of a build.
func (c *Client) Spawn(ctx context.Context, q daemon.SpawnQuery, progress func(step string)) (daemon.Spawned, error) {
	socket, err := c.node.spawner(ctx, c.cfg.Daemon)
	if err != nil {
		return daemon.Spawned{}, err
	}
	api := daemon.NewClient(socket)
	defer api.Close()
	return api.Spawn(ctx, q, progress)
}

// spawner returns the socket of the machine's node: those beside instances start no cells. Where none runs and none is
// installed, command starts one.
func (l *lazyNode) spawner(ctx context.Context, command []string) (string, error) {
	switch v := os.Getenv("CELL_DAEMON"); {
	case v == "off":
		return "", errors.New("client: the machine's node starts cells, and CELL_DAEMON=off says not to ask it")
	case !daemonAuto():
		return v, nil
	case l.home == nil:
		return "", errNoSpawner
	}
	socket, err := l.home.SocketPath(daemon.Socket)
	if err != nil || answers(socket) {
		return socket, err
	}
	installed, err := l.daemonCommand()
	if err != nil {
		return "", err
	}
	if installed != nil {
		command = installed
	}
	if len(command) == 0 {
		return "", errNoSpawner
	}
	if err := l.startDaemon(ctx, command); err != nil {
		return "", fmt.Errorf("client: the machine's node, which starts cells, does not start: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return socket, nil
}

// spawnWay starts the cell here when every other instance is gone or too far, if its policy says so. Calls go on to the far
// ones meanwhile, and when it fails.
func (c *Client) spawnWay(r *Resolved, near *nearness) find.Way {
	return find.Way{
		Name: find.Spawn,
		When: func(live []find.Instance) bool { return near.wants(live, time.Now()) },
		Run: func(ctx context.Context, sink find.Sink) error {
			err := c.spawnFor(ctx, r, sink)
			if err != nil && ctx.Err() == nil {
				c.log.Warn("the cell is too far, and cannot be started here", "cell", r.Cell.String(), "err", err)
			}
			return err
		},
	}
}

func (c *Client) spawnFor(ctx context.Context, r *Resolved, sink find.Sink) error {
	req := r.request()
	if req.Commit == "" && r.Path == "" {
		var err error
		if req.Commit, err = c.source.Resolve(ctx, r.Git, r.Cell.Tag); err != nil {
			return err
		}
	}
	c.log.Info("no instance is near: the cell is started here", "cell", r.Cell.String(), "commit", req.Commit)
	q := daemon.SpawnQuery{
		Repository: r.Git, Tag: r.Cell.Tag, Commit: req.Commit, Path: r.Path, NoSandbox: r.Policy.Sandbox == "none", Binary: r.Policy.Binary,
		Share: r.Policy.Share,
	}
	s, err := c.Spawn(ctx, q, nil)
	if err != nil {
		return err
	}
	if req.Fingerprint != "" && s.Fingerprint != req.Fingerprint {
		return fmt.Errorf("client: what commit %s builds has another interface: want %s, has %s", req.Commit, req.Fingerprint, orNone(s.Fingerprint))
	}
	id, err := peer.Decode(s.Peer)
	if err != nil {
		return fmt.Errorf("client: %s names the peer %q: %w", s.Name, s.Peer, err)
	}
	sink.Found(find.Candidate{Peer: id, Way: find.Local, Socket: s.Socket, Commit: s.Commit, Fingerprint: s.Fingerprint})
	return nil
}
