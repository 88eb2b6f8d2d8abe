package spawn

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cellnode/cellnode/internal/health"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// NotReadyError says that a service was started and did not come to serve.
type NotReadyError struct {
	Name   string
	Reason string // one clause
	Output string // the last lines of what it wrote
}

// Error is one line.
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("spawn: %s does not serve: %s%s", e.Name, e.Reason, lastWords(e.Output))
}

// FailedError says that a service that had served ended again and again.
type FailedError struct {
	Name   string
	Status string // of the last end
	Times  int
	Output string // the last lines of what it wrote
}

// Error is one line.
func (e *FailedError) Error() string {
	return fmt.Sprintf("spawn: %s ended %d times within %v, and is not started again: %s%s", e.Name, e.Times, restartWindow, cmp.Or(e.Status, "it does not come to serve"), lastWords(e.Output))
}

// running is one run of a service.
type running struct {
	process *sandbox.Process
	hung    atomic.Bool // and was ended for it
}

// errReadyTime is the cause of a start that took too long.
var errReadyTime = errors.New("took too long")

// start starts the service once and returns when it is ready and shown to clients.
func (c *Capsid) start(ctx context.Context) (*running, error) {
	if err := c.cfg.Cache.Check(c.cfg.Artifact); err != nil {
		return nil, err
	}
	scratch, err := c.scratch()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.ReadyTimeout, errReadyTime)
	defer cancel()
	said, ready, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	defer said.Close()
	process, err := sandbox.Start(ctx, c.box(scratch, ready))
	ready.Close()
	if err != nil {
		return nil, c.notReady(ctx, err, nil)
	}
	run := &running{process: process}
	c.mu.Lock()
	c.current = run
	c.mu.Unlock()
	if err := c.await(ctx, process, said); err != nil {
		err = c.notReady(ctx, err, process)
		_ = process.Close()
		return nil, err
	}
	return run, nil
}

// box is the sandbox of the service.
func (c *Capsid) box(scratch string, ready *os.File) sandbox.Box {
	wants := c.cfg.File.Sandbox
	both := io.MultiWriter(c.tail, c.log)
	b := sandbox.Box{
		Name: c.name(), Args: c.arguments(), Env: c.environment(scratch), Scratch: scratch,
		Read: append([]string{c.cfg.Artifact.Path}, wants.Read...), Write: wants.Write,
		Network: wants.Network == "host", Port: c.place.port,
		Limits: sandbox.Limits{Memory: int64(wants.MemoryMB) << 20, CPUs: wants.CPUs, Pids: wants.Pids},
		Open:   c.cfg.Open, Ready: ready, Stdout: both, Stderr: both,
		Denied: func(what string) {
			c.cfg.Log.Warn("the sandbox denied the service something", "cell", c.cfg.Cell.String(), "what", what)
			_, _ = io.WriteString(both, denial(what)) // neither of both fails
		},
	}
	if c.place.dir != "" {
		b.Sockets = []string{c.place.dir}
	}
	return b
}

// notReady puts the end of a start into words.
func (c *Capsid) notReady(ctx context.Context, err error, process *sandbox.Process) error {
	e := &NotReadyError{Name: c.record.Name, Output: c.tail.String()}
	var setup *sandbox.SetupError
	switch {
	case errors.Is(err, errEnded):
		status, _ := process.Wait()
		e.Reason, e.Output = status.String(), c.tail.String()
	case errors.Is(context.Cause(ctx), errReadyTime):
		e.Reason = fmt.Sprintf("it does not answer on the socket that it finds in %s within %v", c.place.name(), c.cfg.ReadyTimeout)
	case errors.As(err, &setup):
		e.Reason = setup.Problem
		if _, err := os.Stat(c.cfg.Artifact.Path); err == nil && strings.HasPrefix(setup.Problem, "start ") && strings.Contains(setup.Problem, "no such file") {
			e.Reason += ": what it is linked to or interpreted by has to stand under [sandbox] read"
		}
	default:
		return err
	}
	return e
}

// name is the variable by which the service knows its place.
func (p place) name() string {
	if p.network == "tcp" {
		return "CELL_PORT"
	}
	return "CELL_SOCKET"
}

var errEnded = errors.New("ended")

// Waits between two looks at a socket that is not there yet.
const (
	firstLook = time.Millisecond
	lastLook  = 20 * time.Millisecond
)

// maxReady bounds the line by which a service says that it is ready, in bytes.
const maxReady = 1 << 10

// await returns when the service is ready: it says so by a line on descriptor 3, or its socket answers its health check,
// which without a kind is to accept a connection. Either way the socket must be there.
func (c *Capsid) await(ctx context.Context, process *sandbox.Process, said io.Reader) error {
	told := make(chan struct{})
	go func() {
		if _, err := bufio.NewReader(io.LimitReader(said, maxReady)).ReadString('\n'); err == nil {
			close(told)
		}
	}()
	check, err := c.check("tcp", c.dial)
	if err != nil {
		return err
	}
	defer check.Close()
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		if c.answers(ctx, check, told) {
			return c.place.show()
		}
		timer := time.NewTimer(wait)
		select {
		case <-process.Done():
			timer.Stop()
			return errEnded
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-told:
			timer.Stop()
			told = nil
		case <-timer.C:
		}
	}
}

// check is the service's own health check; one that is a command of the repository's is not run outside of the sandbox. One that
// the cell leaves open is as unnamed says.
func (c *Capsid) check(unnamed string, dial health.Dial) (health.Check, error) {
	h := c.cfg.File.Health
	switch h.Kind {
	case "":
		h.Kind = unnamed
	case "exec":
		h = manifest.Health{Kind: "tcp"}
	}
	return health.New(h, dial, "")
}

// answers looks once. A service that has said that it is ready needs a socket alone.
func (c *Capsid) answers(ctx context.Context, check health.Check, told <-chan struct{}) bool {
	if told == nil {
		conn, err := c.dial(ctx)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	return health.Once(ctx, c.cfg.File.Health, check) == nil
}

// dialShown connects to the service where clients do.
func (c *Capsid) dialShown(ctx context.Context) (net.Conn, error) {
	network, address, _ := strings.Cut(c.place.address, ":")
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// dial connects to the service of this run before it is shown, at a place that may be a link of its making: that is not followed.
func (c *Capsid) dial(ctx context.Context) (net.Conn, error) {
	network, address := c.place.dial()
	if network == "unix" {
		if info, err := os.Lstat(address); err != nil || info.Mode().Type() != os.ModeSocket {
			return nil, errors.Join(err, errors.New("there is no socket yet"))
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
