package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/build"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/spawn"
)

// spawned is what spawn prints when a service is ready.
type spawned struct {
	home.Running
	Binary      spawn.Artifact `json:"binary"`
	BuildMillis float64        `json:"build_ms"` // a look into the cache, or the build
	StartMillis float64        `json:"start_ms"` // from the start to being ready
}

// spawnFlags are the flags of spawn.
type spawnFlags struct {
	detach bool
	ready  time.Duration
	idle   time.Duration
}

func newSpawn(g *globals) *cobra.Command {
	var f spawnFlags
	cmd := &cobra.Command{
		Use:   "spawn CELL",
		Short: "Build a cell and run it on this machine, in a sandbox",
		Long: `spawn builds the cell at the commit of Cell.lock, or the one that the tag is at, and runs it until
interrupted; --detach leaves it to itself. Both happen in a sandbox: the code sees its own files, what its
[sandbox] names, no home directory, and no network unless that says so. The binary is kept for the next time.
Where there is no sandbox spawn refuses, unless the cell's policy in Cell.toml says sandbox = "none".

Clients on this machine find it by its socket, run/NAME.sock in the home directory.`,
		Args: oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.detach {
				return spawnDetached(cmd, g, f, args[0])
			}
			return spawnHere(cmd, g, f, args[0])
		},
	}
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "return when it is ready, and let it run; cellnode stop ends it")
	cmd.Flags().DurationVar(&f.ready, "ready-timeout", spawn.DefaultReadyTimeout, "how long it may take to be ready, the build not counted")
	cmd.Flags().DurationVar(&f.idle, "idle-exit", 0, "end when nobody was connected for this long (0: never)")
	return cmd
}

// spawnHere is the owner of the service: it ends with this process.
func spawnHere(cmd *cobra.Command, g *globals, f spawnFlags, arg string) error {
	dir, err := home.Open()
	if err != nil {
		return err
	}
	ctx, cancel := g.context(cmd, 0)
	defer cancel()
	log := g.log(cmd, slog.LevelWarn)
	target, artifact, cache, took, err := buildTarget(ctx, cmd, g, dir, arg)
	if err != nil {
		return err
	}
	begun := time.Now()
	c, err := spawn.StartCapsid(ctx, spawn.CapsidConfig{
		Home: dir, Cache: cache, Artifact: artifact, Cell: target.Cell, Fingerprint: target.Fingerprint, File: target.File,
		Open: target.Policy.Sandbox == "none", ReadyTimeout: f.ready, IdleExit: f.idle, Log: log,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if target.Policy.Share {
		src, err := source.New(source.Config{CacheDir: dir.Path("cache", "git"), Log: log})
		if err != nil {
			return err
		}
		order := spawn.Order{URL: target.URL, Cell: target.Cell, Commit: target.Commit, Dir: target.Dir}
		c.Share(&sharer{dir: dir, source: src, log: log}, order)
	}
	s := spawned{c.Info(), artifact, millis(took), millis(time.Since(begun))}
	if err := g.print(cmd, s, func(w io.Writer) error { return printSpawned(w, s) }); err != nil {
		return err
	}
	select {
	case <-c.Done():
		return c.Err()
	case <-cmd.Context().Done():
		return c.Stop(context.Background())
	}
}

// buildTarget resolves the cell and takes its binary from the cache, or builds it.
func buildTarget(ctx context.Context, cmd *cobra.Command, g *globals, dir *home.Dir, arg string) (*build.Target, spawn.Artifact, *spawn.Cache, time.Duration, error) {
	b, err := (&buildFlags{anywhere: true}).builder(cmd, g, false)
	if err != nil {
		return nil, spawn.Artifact{}, nil, 0, err
	}
	defer b.Close()
	target, err := b.Target(ctx, arg)
	if err != nil {
		return nil, spawn.Artifact{}, nil, 0, err
	}
	cache, err := openCache(dir)
	if err != nil {
		return nil, spawn.Artifact{}, nil, 0, err
	}
	ribosome, err := spawn.NewRibosome(spawn.RibosomeConfig{
		Cache: cache, Source: b.Source(), Home: dir, Open: target.Policy.Sandbox == "none", Log: g.log(cmd, slog.LevelWarn),
		Progress: printStep(cmd),
	})
	if err != nil {
		return nil, spawn.Artifact{}, nil, 0, err
	}
	begun := time.Now()
	a, err := ribosome.Build(ctx, spawn.Recipe{URL: target.URL, Cell: target.Cell, Commit: target.Commit, Dir: target.Dir, Build: target.File.Build, Trust: target.File.Trust, Binary: target.Policy.Binary})
	return target, a, cache, time.Since(begun), err
}

// printStep shows the steps of a build.
func printStep(cmd *cobra.Command) func(step, cell string) {
	return func(step, cell string) { fmt.Fprintf(cmd.ErrOrStderr(), "building %s: %s\n", cell, step) }
}

func openCache(dir *home.Dir) (*spawn.Cache, error) {
	path, err := dir.Sub("cache")
	if err != nil {
		return nil, err
	}
	return spawn.OpenCache(filepath.Join(path, "spawn"))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func printSpawned(w io.Writer, s spawned) error {
	from := fmt.Sprintf("built in %.0f ms", s.BuildMillis)
	switch {
	case s.Spawned.Signed:
		from = "signed by its publishers"
	case s.Binary.Hit:
		from = "from the cache"
	}
	_, err := fmt.Fprintf(w, "ready    %s  process %d\ncell     %s  commit %s\nbinary   %s  %s\nstarted  in %.0f ms, sandbox %s\nlogs to  %s\n",
		s.Socket, s.Spawned.PID, s.Cell, short(s.Commit), short(s.Binary.SHA256), from, s.StartMillis, s.Spawned.Sandbox, s.Spawned.Log)
	return err
}

// spawnDetached starts an owner that outlives this process, and returns when the service is ready.
func spawnDetached(cmd *cobra.Command, g *globals, f spawnFlags, arg string) error {
	dir, err := home.Open()
	if err != nil {
		return err
	}
	logs, err := dir.Sub("log")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(logs, "spawn.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"spawn", "--json", "--ready-timeout", f.ready.String(), "--idle-exit", f.idle.String(), "--timeout", g.timeout.String(), "--", arg}
	child := exec.Command(self, args...)
	child.Stderr, child.SysProcAttr = log, detached()
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		return err
	}
	var s spawned
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&s); err != nil {
		return detachedError(child, log, from)
	}
	return g.print(cmd, s, func(w io.Writer) error { return printSpawned(w, s) })
}

// detachedError is the error with which the owner has ended.
func detachedError(child *exec.Cmd, log *os.File, from int64) error {
	var ended *exec.ExitError
	if err := child.Wait(); err != nil && !errors.As(err, &ended) {
		return err
	}
	said, err := io.ReadAll(io.NewSectionReader(log, from, 1<<20))
	if err != nil {
		return err
	}
	text := "its owner ended without a word: its log is " + log.Name()
	for line := range strings.Lines(string(said)) {
		if last, ok := strings.CutPrefix(strings.TrimSpace(line), "cellnode: "); ok {
			text = last
		}
	}
	code := exitNone
	if ended != nil && ended.ExitCode() > 0 {
		code = ended.ExitCode()
	}
	return &codeError{code, errors.New(text)}
}
