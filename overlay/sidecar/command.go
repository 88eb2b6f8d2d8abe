package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults and limits of a CommandConfig.
const (
	defaultReadyTimeout = 30 * time.Second
	startGrace          = 5 * time.Second // from SIGTERM to SIGKILL for a service that is not wanted before it was ready
	firstPoll           = 2 * time.Millisecond
	lastPoll            = 50 * time.Millisecond
	// outputDelay is how long output is still read once the service has ended: a process that left its group may keep
	// the pipe open for ever.
	outputDelay = time.Second
)

// CommandConfig says how to start a service.
type CommandConfig struct {
	Args   []string // the program and its arguments, not empty
	Dir    string   // where it runs; empty: the working directory
	Env    []string // NAME=VALUE, on top of this process's environment without CELL_KEY and CELL_GRANT
	Name   string   // the cell's name, for CELL_NAME
	Socket Upstream // where it will listen, for CELL_SOCKET (unix) or CELL_PORT (tcp); nobody may listen there yet

	Stdout, Stderr io.Writer // nil: thrown away. They may be the same; their errors are ignored

	ReadyTimeout time.Duration // from start to the first accepted connection; 0: 30 s
}

// Command is a service that this process has started. It runs in a process group of its own, so the terminal's
// interrupts do not reach it. When its first process ends, the rest of the group is killed. If this process dies without
// Stop, the kernel kills the service's first process (Linux; elsewhere it stays). What the service itself started then
// stays too, as does at any time what has left the group (setsid): only a process namespace holds those.
//
// All methods are safe for concurrent use.
type Command struct {
	cmd  *exec.Cmd
	tail *tail

	mu       sync.Mutex
	ended    bool // the group's number may belong to others soon
	stopping bool // Stop or Close was called
	err      error
	done     chan struct{}
}

// StartCommand starts the service and returns when it accepts connections. If it ends before that, or takes too long,
// or ctx ends, nothing is left running and the error is an *ExitError, or wraps ErrNotReady, or ctx's.
func StartCommand(ctx context.Context, config CommandConfig) (*Command, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	if conn, err := config.Socket.DialOnce(ctx); err == nil {
		conn.Close()
		return nil, fmt.Errorf("sidecar: upstream %s: somebody listens there already: "+
			"stop that service, or run beside it with --upstream", config.Socket)
	}
	c := &Command{tail: &tail{}, done: make(chan struct{})}
	c.cmd = c.prepare(config)
	started := make(chan error, 1)
	go c.supervise(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("sidecar: start %s: %w", config.Args[0], err)
	}
	if err := c.awaitReady(ctx, config); err != nil {
		return nil, errors.Join(err, c.stopWithin(startGrace))
	}
	return c, nil
}

func (config CommandConfig) withDefaults() CommandConfig {
	if config.ReadyTimeout == 0 {
		config.ReadyTimeout = defaultReadyTimeout
	}
	return config
}

func (config CommandConfig) validate() error {
	switch {
	case len(config.Args) == 0 || config.Args[0] == "":
		return errors.New("sidecar: no command is given")
	case config.Socket.IsZero():
		return errors.New("sidecar: a command needs a socket to listen on")
	case config.ReadyTimeout < 0:
		return errors.New("sidecar: a time limit is negative")
	}
	return nil
}

func (c *Command) prepare(config CommandConfig) *exec.Cmd {
	cmd := exec.Command(config.Args[0], config.Args[1:]...)
	cmd.Dir = config.Dir
	cmd.Env = config.environment()
	var mu sync.Mutex
	cmd.Stdout = calm{config.Stdout, &mu}
	if file, ok := config.Stdout.(*os.File); ok {
		cmd.Stdout = file // straight, without a goroutine
	}
	cmd.Stderr = io.MultiWriter(c.tail, calm{config.Stderr, &mu})
	cmd.WaitDelay = outputDelay
	return cmd
}

// environment leaves out the node's own secrets.
func (config CommandConfig) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CELL_KEY=") || strings.HasPrefix(v, "CELL_GRANT=") ||
			strings.HasPrefix(v, "CELL_SOCKET=") || strings.HasPrefix(v, "CELL_PORT=")
	})
	env = append(env, config.Env...)
	if config.Socket.network == "unix" {
		env = append(env, "CELL_SOCKET="+config.Socket.address)
	} else if _, port, err := net.SplitHostPort(config.Socket.address); err == nil {
		env = append(env, "CELL_PORT="+port)
	}
	return append(env, "CELL_NAME="+config.Name)
}

// awaitReady returns nil when the socket accepts.
func (c *Command) awaitReady(ctx context.Context, config CommandConfig) error {
	ctx, cancel := context.WithTimeoutCause(ctx, config.ReadyTimeout, ErrNotReady)
	defer cancel()
	for wait := firstPoll; ; wait = min(2*wait, lastPoll) {
		if conn, err := config.Socket.DialOnce(ctx); err == nil {
			conn.Close()
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			continue
		case <-c.done:
			timer.Stop()
			return c.Err()
		case <-ctx.Done():
			timer.Stop()
			return c.notReady(context.Cause(ctx), config)
		}
	}
}

func (c *Command) notReady(cause error, config CommandConfig) error {
	if cause != ErrNotReady {
		return fmt.Errorf("sidecar: start %s: %w", config.Args[0], cause)
	}
	return fmt.Errorf("%w: %s does not listen on %s after %v: it finds the place in CELL_SOCKET or CELL_PORT%s",
		cause, config.Args[0], config.Socket, config.ReadyTimeout, lastWords(c.tail.String()))
}

// PID returns the number of the service's first process, which is the number of its group.
func (c *Command) PID() int { return c.cmd.Process.Pid }

// Done is closed when the service has ended.
func (c *Command) Done() <-chan struct{} { return c.done }

// Err returns nil while the service runs and after it ended by Stop, and else an *ExitError.
func (c *Command) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Wait waits for the service's end and returns Err.
func (c *Command) Wait() error {
	<-c.done
	return c.Err()
}

// Stop asks the service to end (SIGTERM to its group), kills it when ctx ends, and returns when nothing of the group is left
// to run: nil, or an error that says that it was killed.
func (c *Command) Stop(ctx context.Context) error {
	c.terminate()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.kill()
	<-c.done
	return fmt.Errorf("sidecar: %s did not end when it was asked to, and was killed: %w", c.cmd.Args[0], context.Cause(ctx))
}

func (c *Command) stopWithin(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return c.Stop(ctx)
}

// Close kills the service if it still runs. It is idempotent and returns when it has ended.
func (c *Command) Close() error {
	c.kill()
	<-c.done
	return nil
}
