package spawn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// Defaults of a CapsidConfig.
const (
	DefaultReadyTimeout = 5 * time.Second
	DefaultGrace        = 5 * time.Second
	DefaultHangLimit    = 10 * time.Second
)

// CapsidConfig says what to run. Home, Cache, Artifact and File are required.
type CapsidConfig struct {
	Home        *home.Dir
	Cache       *Cache
	Artifact    Artifact
	Cell        manifest.Cell
	Fingerprint string         // of its interface, hex; empty: it has none
	File        *manifest.File // its Cell.toml: [package] name, [run], [health], [sandbox]

	API          string        // path of the socket at which its owner can be asked to end it; empty: the owner ends by a signal
	Open         bool          // no sandbox: the policy's sandbox = "none"
	ReadyTimeout time.Duration // from the start to being ready; 0: 5 s
	Grace        time.Duration // from SIGTERM to SIGKILL; 0: 5 s
	HangLimit    time.Duration // killed and started again when no health check was answered for this long; 0: 10 s
	IdleExit     time.Duration // ends when nobody was connected for this long, looked at once a second; 0: never
	Log          *slog.Logger  // nil: silent
}

func (c CapsidConfig) withDefaults() CapsidConfig {
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = DefaultReadyTimeout
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.HangLimit == 0 {
		c.HangLimit = DefaultHangLimit
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c CapsidConfig) validate() error {
	switch {
	case c.Home == nil || c.Cache == nil || c.File == nil || c.File.Package == nil:
		return errors.New("spawn: a capsid needs a home, a cache and the cell's Cell.toml")
	case c.ReadyTimeout < 0 || c.Grace < 0 || c.HangLimit < 0 || c.IdleExit < 0:
		return errors.New("spawn: a time limit is negative")
	case !c.Open && !sandbox.Probe().Enough():
		return ErrNoSandbox
	}
	return checkPaths(c.File.Sandbox, c.Home.Path())
}

// States of a capsid, as home.Spawned has them.
const (
	StateReady    = "ready"
	StateBackoff  = "backoff" // it ended by itself and is about to be started again
	StateFailed   = "failed"  // it ended too often
	StateStopping = "stopping"
)

// Capsid is a service that runs here: the binary of a cell in its sandbox, kept running. It belongs to this process, and
// ends with it however that ends. All methods are safe for concurrent use.
type Capsid struct {
	cfg   CapsidConfig
	reg   *home.Registration
	key   *home.Key // by which clients tell it from other instances
	place place
	log   *logFile
	tail  *tail

	ctx  context.Context // ends when Stop or Close is called
	stop context.CancelCauseFunc
	done chan struct{}

	mu      sync.Mutex
	record  home.Running
	current *running // the last that was started
	err     error

	shared  atomic.Bool    // sharing goes on
	sharing sync.WaitGroup // grows under mu, until leaving
	leaving bool           // it is not shared any more
}

// errStopped is the cause of an end that was asked for, errKilled of one without grace, errIdle of one for want of use.
var (
	errStopped = errors.New("stopped")
	errKilled  = errors.New("killed")
	errIdle    = errors.New("nobody was connected")
)

// StartCapsid starts a service and returns when it is ready. If it ends before that, or takes too long, or ctx ends,
// nothing is left and the error is a *NotReadyError, or ctx's; a *DamagedError, *ForbiddenPathError or ErrNoSandbox
// says that it was not started at all.
func StartCapsid(ctx context.Context, cfg CapsidConfig) (*Capsid, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Capsid{cfg: cfg, tail: &tail{}, done: make(chan struct{})}
	if err := c.claim(ctx); err != nil {
		return nil, err
	}
	run, err := c.start(ctx)
	if err != nil {
		c.giveBack()
		return nil, err
	}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	c.publish(StateReady, run)
	go c.supervise(run)
	if cfg.IdleExit > 0 {
		go c.watchIdle()
	}
	return c, nil
}

// claim takes the cell's name on this machine, and the folders that go with it.
func (c *Capsid) claim(ctx context.Context) (err error) {
	cell := c.cfg.Cell
	if c.reg, err = c.cfg.Home.Claim(c.cfg.File.Package.Name, cell.ID().String()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.giveBack()
		}
	}()
	if c.key, err = c.cfg.Home.StoredKey(c.cfg.File.Package.Name); err != nil {
		return err
	}
	if c.place, err = c.findPlace(ctx); err != nil {
		return err
	}
	logs, err := c.cfg.Home.Sub("log")
	if err != nil {
		return err
	}
	path := filepath.Join(logs, c.reg.Base()+".log")
	if c.log, err = openLog(path, logSize); err != nil {
		return err
	}
	c.record = home.Running{
		Name: c.cfg.File.Package.Name, Cell: cell.String(), CID: cell.ID().String(), Peer: c.key.Peer.String(), Commit: c.cfg.Artifact.Commit,
		Fingerprint: c.cfg.Fingerprint, PID: os.Getpid(), Since: time.Now(), Spawned: &home.Spawned{SHA256: c.cfg.Artifact.SHA256, Log: path, API: c.cfg.API, Signed: c.cfg.Artifact.isSigned()},
	}
	return nil
}

// giveBack undoes claim.
func (c *Capsid) giveBack() {
	if c.log != nil {
		_ = c.log.Close()
	}
	if c.key != nil {
		_ = c.key.Close()
	}
	c.place.remove()
	_ = os.RemoveAll(c.cfg.Home.Path("run", c.reg.Base()+".tmp"))
	if err := c.reg.Close(); err != nil {
		c.cfg.Log.Warn("what stood for the service in the home directory is left", "cell", c.cfg.Cell.String(), "err", err)
	}
}

// publish says in the home directory how it stands.
func (c *Capsid) publish(state string, run *running) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spawned := *c.record.Spawned
	spawned.State, spawned.PID = state, 0
	if run != nil {
		spawned.PID, spawned.Sandbox = run.process.PID(), run.process.Layers().String()
		if c.cfg.Open {
			spawned.Sandbox = "none"
		}
	}
	c.record.Spawned, c.record.Socket = &spawned, c.place.address
	c.announce()
}

// announce writes the record, for which mu is held.
func (c *Capsid) announce() {
	if err := c.reg.Publish(c.record); err != nil {
		c.cfg.Log.Warn("the service cannot be announced in the home directory", "cell", c.cfg.Cell.String(), "err", err)
	}
}

// Info is what the home directory says of it.
func (c *Capsid) Info() home.Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	info := c.record
	spawned := *c.record.Spawned
	info.Spawned = &spawned
	return info
}

// Done is closed when nothing of it is left.
func (c *Capsid) Done() <-chan struct{} { return c.done }

// Err is nil while it runs and after an end that was asked for, idleness among them, and else a *NotReadyError or
// *FailedError.
func (c *Capsid) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// awaitReady returns what Info says once it is ready: it may just be started again. An error is its own, or ctx's.
func (c *Capsid) awaitReady(ctx context.Context) (home.Running, error) {
	tick := time.NewTicker(lastLook)
	defer tick.Stop()
	for {
		info := c.Info()
		if info.Spawned.State == StateReady {
			return info, nil
		}
		select {
		case <-tick.C:
		case <-c.done:
			return info, cmp.Or(c.Err(), errStopped)
		case <-ctx.Done():
			return info, context.Cause(ctx)
		}
	}
}

// Stop asks the service to end (SIGTERM), kills it after the grace or when ctx ends, and returns when nothing is left.
func (c *Capsid) Stop(ctx context.Context) error {
	c.stop(errStopped)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		_ = c.Close()
		return context.Cause(ctx)
	}
}

// Close kills the service and returns when nothing is left. It is idempotent.
func (c *Capsid) Close() error {
	c.stop(errKilled)
	c.mu.Lock()
	run := c.current
	c.mu.Unlock()
	if run != nil {
		_ = run.process.Close()
	}
	<-c.done
	return nil
}

// supervise keeps it running until it is to end.
func (c *Capsid) supervise(run *running) {
	defer close(c.done)
	defer c.giveBack()
	defer c.endSharing()
	var again backoff
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for up := time.Now(); ; up = time.Now() {
		why := ""
		if run != nil {
			if c.stay(run) {
				return
			}
			status, _ := run.process.Wait()
			if why = status.String(); run.hung.Load() {
				why = hangs
			}
		}
		wait, ok := again.ended(up, time.Now(), random)
		if !ok {
			c.fail(&FailedError{Name: c.record.Name, Status: why, Times: maxRestarts + 1, Output: c.tail.String()})
			return
		}
		c.cfg.Log.Warn("the service ended by itself", "cell", c.cfg.Cell.String(), "status", why, "again", wait)
		c.publish(StateBackoff, nil)
		var err error
		if run, err = c.restart(wait); c.ctx.Err() != nil {
			return
		}
		var notReady *NotReadyError
		if err != nil && !errors.As(err, &notReady) {
			c.fail(err)
			return
		}
		if err == nil {
			c.publish(StateReady, run)
		}
	}
}

// stay waits for the end of a run, and says whether it was asked for.
func (c *Capsid) stay(run *running) bool {
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() { c.watchHang(run) })
	select {
	case <-run.process.Done():
		return false
	case <-c.ctx.Done():
	}
	c.publish(StateStopping, run)
	c.endSharing() // others are told before their calls break
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Grace)
	defer cancel()
	_ = run.process.Stop(ctx)
	return true
}

func (c *Capsid) restart(wait time.Duration) (*running, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	case <-timer.C:
	}
	c.mu.Lock()
	spawned := *c.record.Spawned
	spawned.Restarts++
	c.record.Spawned = &spawned
	c.mu.Unlock()
	return c.start(c.ctx)
}

func (c *Capsid) fail(err error) {
	c.publish(StateFailed, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// environment is all that the service sees of one.
func (c *Capsid) environment(scratch string) []string {
	env := []string{"CELL_NAME=" + c.record.Name, "TMPDIR=" + scratch, "HOME=" + scratch, c.place.variable}
	for name, value := range c.cfg.File.Run.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// arguments are [run] args, or --membrane.
func (c *Capsid) arguments() []string {
	args := c.cfg.File.Run.Args
	if args == nil {
		args = []string{"--membrane"}
	}
	return append([]string{c.cfg.Artifact.Path}, args...)
}

// name names the sandbox.
func (c *Capsid) name() string { return strings.NewReplacer("@", "-", ".", "-").Replace(c.reg.Base()) }

// scratch makes the folder that goes with one run; what a killed owner has left in it goes.
func (c *Capsid) scratch() (string, error) {
	dir := c.cfg.Home.Path("run", c.reg.Base()+".tmp")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return "", fmt.Errorf("spawn: %w", err)
	}
	return dir, nil
}
