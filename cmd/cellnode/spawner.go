package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn"
)

// spawner is what the machine's node starts cells with.
type spawner struct{ owner *spawn.Owner }

// newSpawner returns one whose shared instances have nodes with the settings of the machine's node.
func newSpawner(dir *home.Dir, above home.Layer, log *slog.Logger) (*spawner, error) {
	cache, err := openCache(dir)
	if err != nil {
		return nil, err
	}
	src, err := source.New(source.Config{CacheDir: dir.Path("cache", "git"), Log: log})
	if err != nil {
		return nil, err
	}
	api, err := dir.SocketPath(daemon.Socket)
	if err != nil {
		return nil, err
	}
	settings, err := dir.Config(above)
	if err != nil {
		return nil, err
	}
	owner, err := spawn.NewOwner(spawn.OwnerConfig{
		Home: dir, Cache: cache, Source: src, API: api, IdleExit: time.Duration(settings.SpawnIdle) * time.Second,
		Sharer: &sharer{dir, src, []home.Layer{above}, log}, Log: log,
	})
	return &spawner{owner}, err
}

// Spawn implements daemon.Spawner.
func (s *spawner) Spawn(ctx context.Context, q daemon.SpawnQuery, progress func(string)) (daemon.Spawned, error) {
	order, err := newOrder(q)
	if err != nil {
		return daemon.Spawned{}, crossing(err)
	}
	started, err := s.owner.Spawn(ctx, order, progress)
	if err != nil {
		return daemon.Spawned{}, crossing(err)
	}
	out := daemon.Spawned{
		Name: started.Name, Cell: started.Cell, Commit: started.Commit, Fingerprint: started.Fingerprint, Peer: started.Peer, Socket: started.Socket,
		Ran: started.Ran, Hit: started.Binary.Hit, BuildMillis: millis(started.BuildTime), StartMillis: millis(started.StartTime),
	}
	for _, s := range started.Steps {
		out.Steps = append(out.Steps, daemon.Step{Name: s.Name, Millis: millis(s.Took)})
	}
	if started.Spawned != nil {
		out.SHA256, out.Sandbox, out.Signed = started.Spawned.SHA256, started.Spawned.Sandbox, started.Spawned.Signed
	}
	return out, nil
}

func newOrder(q daemon.SpawnQuery) (spawn.Order, error) {
	if err := manifest.FetchURL(q.Repository); err != nil {
		return spawn.Order{}, err
	}
	cell, err := manifest.NewCell(q.Repository, q.Tag)
	return spawn.Order{
		URL: q.Repository, Cell: cell, Commit: q.Commit, Dir: q.Path, Open: q.NoSandbox, Binary: q.Binary, Share: q.Share,
		Ready: time.Duration(q.ReadyMillis) * time.Millisecond,
	}, err
}

// Stop implements daemon.Spawner.
func (s *spawner) Stop(ctx context.Context, peer string) error {
	return crossing(s.owner.Stop(ctx, peer))
}

// crossing gives an error the exit code that it has here, for the command at the other end.
func crossing(err error) error {
	if err == nil {
		return nil
	}
	return &daemon.Error{Message: oneLine(err), Code: exitCode(err)}
}

// daemonCommand starts the machine's node on demand where none is installed: this very program.
func daemonCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "daemon", "start", "--idle-exit", onDemandIdle.String()}
}
