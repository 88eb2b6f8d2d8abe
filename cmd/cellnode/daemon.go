package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/overlay/settings"
	"github.com/cellnode/cellnode/spawn"
)

const (
	daemonStart = 20 * time.Second // from the process to its answering socket
	daemonStop  = 15 * time.Second
	daemonLook  = 20 * time.Millisecond // between two looks whether it answers, or has ended
	// daemonLog is the log's size in bytes at which the next start begins a new one and keeps the old one beside it.
	daemonLog = 10 << 20
)

func newDaemon(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "The machine's node for clients",
		Long: `The daemon is a node without an instance: it follows cells for the clients of this machine, so that
each of their searches is answered from memory, and carries the network. Every command works without
it, too. After ` + "`cellnode daemon install`" + ` clients and commands start it when they first need it.`,
	}
	cmd.AddCommand(newDaemonStart(g), newDaemonStop(g), newDaemonStatus(g), newDaemonInstall(g), newDaemonUninstall(g))
	return cmd
}

func newDaemonStart(g *globals) *cobra.Command {
	var foreground bool
	var idle time.Duration
	var f settingFlags
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the machine's node, unless it runs already, and return when it answers",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if idle < 0 {
				return usage("--idle-exit is %v: it must be above 0, or 0 for never", idle)
			}
			if foreground {
				return runDaemon(cmd, g, f.layer(), idle)
			}
			return startDaemon(cmd, g, &f, idle)
		},
	}
	cmd.Flags().BoolVar(&foreground, "foreground", false, "be the node, until interrupted: for systemd and containers")
	cmd.Flags().DurationVar(&idle, "idle-exit", 0, "end when nobody has asked anything for this long (0: never)")
	f.register(cmd)
	return cmd
}

// runDaemon is the node itself. systemd may hand it the socket (LISTEN_FDS, man sd_listen_fds).
func runDaemon(cmd *cobra.Command, g *globals, above home.Layer, idle time.Duration) error {
	saveMemory()
	outliveLog()
	log := g.log(cmd, slog.LevelInfo)
	dir, err := openHome(above)
	if err != nil {
		return err
	}
	l, err := daemonListener(dir)
	if errors.Is(err, home.ErrHeld) {
		return fmt.Errorf("a node runs in %s already: %w", dir.Path(), err)
	}
	if err != nil {
		return err
	}
	defer l.Close()
	key, err := dir.StoredKey("node") // CELL_KEY is for the instance beside which a node runs
	if err != nil {
		return err
	}
	defer key.Close()
	n, err := settings.Start(cmd.Context(), settings.Config{Key: key.Priv, Home: dir, Above: []home.Layer{above}, Log: log})
	if err != nil {
		return err
	}
	defer n.Close()
	defer onHangup(log, n.Reload)()
	cells, err := newSpawner(dir, above, log)
	if err != nil {
		return err
	}
	defer cells.owner.Close()
	api := daemon.Serve(l, daemon.ServerConfig{Node: n.API(), Spawner: cells, Check: home.SameUser, Log: log})
	defer api.Close()
	if idle == 0 {
		<-cmd.Context().Done()
		return nil
	}
	if awaitIdle(cmd.Context(), api, cells.owner, idle) == nil {
		log.Info("nobody has asked anything: the node ends", "for", idle)
	}
	return nil
}

// awaitIdle returns nil when nobody has asked anything for the given time and no service runs that would end with the
// node.
func awaitIdle(ctx context.Context, api *daemon.Server, owner *spawn.Owner, idle time.Duration) error {
	for {
		if err := api.AwaitIdle(ctx, idle); err != nil {
			return err
		}
		if owner.Idle() {
			return nil
		}
		if err := owner.AwaitIdle(ctx); err != nil {
			return err
		}
	}
}

func daemonListener(dir *home.Dir) (net.Listener, error) {
	inherited, err := home.Inherited()
	if err != nil || inherited == nil {
		if err == nil {
			return dir.Listen(daemon.Socket)
		}
		return nil, err
	}
	l, err := dir.Adopt(daemon.Socket, inherited)
	if err != nil {
		inherited.Close()
	}
	return l, err
}

// startDaemon starts a process that outlives this one.
func startDaemon(cmd *cobra.Command, g *globals, f *settingFlags, idle time.Duration) error {
	dir, err := openHome(f.layer())
	if err != nil {
		return err
	}
	ctx, cancel := g.context(cmd, daemonStart)
	defer cancel()
	if s, err := daemonStatus(ctx, dir); err == nil {
		return g.print(cmd, s, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "runs already: process %d, node %s\n", s.PID, s.Peer)
			return err
		})
	}
	child, log, err := spawnDaemon(dir, append(f.args(), "--idle-exit", idle.String()))
	if err != nil {
		return err
	}
	s, err := awaitDaemon(ctx, dir, child)
	if err != nil {
		return fmt.Errorf("the node does not start: %w; its log is %s", err, log)
	}
	return g.print(cmd, s, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "started: process %d, node %s\nlogs to  %s\n", s.PID, s.Peer, log)
		return err
	})
}

// spawnDaemon starts the process and returns it with the path of its log.
func spawnDaemon(dir *home.Dir, args []string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	logs, err := dir.Sub("log")
	if err != nil {
		return nil, "", err
	}
	path := logs + string(os.PathSeparator) + "daemon.log"
	if info, err := os.Stat(path); err == nil && info.Size() > daemonLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, "", err
		}
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	child := exec.Command(self, append([]string{"daemon", "start", "--foreground"}, args...)...)
	child.Dir = dir.Path()
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = detached()
	return child, path, child.Start()
}

// awaitDaemon returns when a node answers. If the child ends before, one that started at the same time may be there.
func awaitDaemon(ctx context.Context, dir *home.Dir, child *exec.Cmd) (daemon.Status, error) {
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	tick := time.NewTicker(daemonLook)
	defer tick.Stop()
	for {
		s, err := daemonStatus(ctx, dir)
		if err == nil {
			return s, nil
		}
		select {
		case err := <-ended:
			if s, err := daemonStatus(ctx, dir); err == nil {
				return s, nil
			}
			return daemon.Status{}, fmt.Errorf("process %d ended: %w", child.Process.Pid, cmpErr(err, errors.New("without an error")))
		case <-ctx.Done():
			return daemon.Status{}, fmt.Errorf("process %d does not answer: %w", child.Process.Pid, err)
		case <-tick.C:
		}
	}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// daemonStatus asks the machine's node.
func daemonStatus(ctx context.Context, dir *home.Dir) (daemon.Status, error) {
	path, err := dir.SocketPath(daemon.Socket)
	if err != nil {
		return daemon.Status{}, err
	}
	c := daemon.NewClient(path)
	defer c.Close()
	return c.Status(ctx)
}

func newDaemonStop(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "End the machine's node, and return when it has ended",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, daemonStop)
			defer cancel()
			s, err := daemonStatus(ctx, dir)
			if notRunning(err) {
				return noDaemon(dir)
			}
			if err != nil {
				return unreachable("%w", err)
			}
			process, err := os.FindProcess(s.PID)
			if err == nil {
				err = process.Signal(syscall.SIGTERM)
			}
			if err != nil {
				return fmt.Errorf("process %d: %w", s.PID, err)
			}
			return awaitGone(ctx, dir, s.PID)
		},
	}
}

// notRunning reports whether nobody answers at the socket.
func notRunning(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)
}

func noDaemon(dir *home.Dir) error {
	return &codeError{exitNone, fmt.Errorf("the machine's node does not run in %s: start it with `cellnode daemon start`", dir.Path())}
}

// awaitGone returns when the name of the socket is free: the process gives that back last.
func awaitGone(ctx context.Context, dir *home.Dir, pid int) error {
	tick := time.NewTicker(daemonLook)
	defer tick.Stop()
	for {
		held, err := dir.Held(daemon.Socket)
		if err != nil || !held {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return unreachable("process %d does not end: see %s", pid, dir.Path("log", "daemon.log"))
		}
	}
}

func newDaemonStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the machine's node",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, apiTimeout)
			defer cancel()
			s, err := daemonStatus(ctx, dir)
			if notRunning(err) {
				return noDaemon(dir)
			}
			if err != nil {
				return unreachable("%w", err)
			}
			return g.print(cmd, s, func(w io.Writer) error { return printStatus(w, s) })
		},
	}
}

// words joins what a shell would split.
func words(list []string) string {
	quoted := make([]string, len(list))
	for n, w := range list {
		if quoted[n] = w; strings.ContainsAny(w, " \t\"'\\$") {
			quoted[n] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `$$`).Replace(w) + `"`
		}
	}
	return strings.Join(quoted, " ")
}
