package spawn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// OwnerConfig configures an Owner. Home, Cache and Source are required.
type OwnerConfig struct {
	Home     *home.Dir
	Cache    *Cache
	Source   *source.Source
	API      string        // path of the socket at which the services can be ended, for run/NAME.json
	IdleExit time.Duration // as in CapsidConfig
	Sharer   Sharer        // for orders that say Share; nil: all stay local
	Log      *slog.Logger  // nil: silent
}

// Owner runs services for many who ask: of one cell at one commit it keeps one instance, however many want it at the same
// time and however slowly it starts. All methods are safe for concurrent use.
type Owner struct {
	cfg  OwnerConfig
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	flying sync.WaitGroup // starts
	wg     sync.WaitGroup // goroutines that wait for the end of a service

	mu      sync.Mutex
	closed  bool
	flights map[Order]*flight
	owned   map[Order]*Capsid
	changed chan struct{} // closed at each change of owned and flights
}

// Order says what is wanted.
type Order struct {
	URL    string // to fetch from; one that manifest.FetchURL passes
	Cell   manifest.Cell
	Commit string        // hex
	Open   bool          // without a sandbox: the policy's sandbox = "none"
	Dir    string        // a working tree, absolute, in place of URL and Commit: it is built again whenever its files change
	Binary string        // as in Recipe
	Share  bool          // the instance is to serve other machines too
	Ready  time.Duration // CapsidConfig.ReadyTimeout of the first start
}

// same is what makes two orders one: not where the code comes from, nor how long somebody waits, nor who else may use it.
func (o Order) same() Order {
	return Order{Cell: o.Cell, Commit: o.Commit, Open: o.Open, Binary: o.Binary}
}

// Started is an instance that an Owner has found or started.
type Started struct {
	home.Running
	Binary    Artifact // zero where the instance was started by somebody else
	Ran       bool     // it ran already
	BuildTime time.Duration
	StartTime time.Duration
	Steps     []Step // of both, in order
}

// ErrOwnerClosed is returned by calls to an Owner that has been closed, and by those that are waiting then.
var ErrOwnerClosed = errors.New("spawn: the machine's node ends")

// NewOwner returns an Owner without services.
func NewOwner(cfg OwnerConfig) (*Owner, error) {
	if cfg.Home == nil || cfg.Cache == nil || cfg.Source == nil {
		return nil, errors.New("spawn: an owner needs a home, a cache and a source")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Owner{cfg: cfg, flights: map[Order]*flight{}, owned: map[Order]*Capsid{}, changed: make(chan struct{})}
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o, nil
}

// Spawn returns an instance that is ready. It calls progress with each step of a build that begins while it waits. When ctx
// ends Spawn returns, and the start goes on: whoever asks next finds it further.
func (o *Owner) Spawn(ctx context.Context, order Order, progress func(step string)) (Started, error) {
	f, err := o.join(order)
	if err != nil {
		return Started{}, err
	}
	for seen := 0; ; {
		steps, more := f.after(seen)
		for _, step := range steps {
			progress(step)
		}
		seen += len(steps)
		select {
		case <-more:
		case <-f.done:
			if f.err == nil && order.Share {
				o.share(order)
			}
			return f.started, f.err
		case <-ctx.Done():
			return Started{}, context.Cause(ctx)
		}
	}
}

// share has the instance of an order serve other machines, unless it does or somebody else runs it.
func (o *Owner) share(order Order) {
	o.mu.Lock()
	c := o.owned[order.same()]
	o.mu.Unlock()
	if c != nil && o.cfg.Sharer != nil {
		c.Share(o.cfg.Sharer, order)
	}
}

// join returns the start that is under way, or begins one.
func (o *Owner) join(order Order) (*flight, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, ErrOwnerClosed
	}
	key := order.same()
	f := o.flights[key]
	if f == nil {
		f = newFlight()
		o.flights[key] = f
		o.flying.Go(func() {
			started, err := o.provide(order, f.step)
			o.change(func() { delete(o.flights, key) })
			f.end(started, err)
		})
	}
	return f, nil
}

// change makes a change that Busy and AwaitIdle see.
func (o *Owner) change(do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	do()
	close(o.changed)
	o.changed = make(chan struct{})
}

// provide finds an instance, or builds and starts one.
func (o *Owner) provide(order Order, step func(string)) (Started, error) {
	if order.Dir != "" {
		return o.provideTree(order, step)
	}
	o.mu.Lock()
	own := o.owned[order.same()]
	o.mu.Unlock()
	if own != nil {
		if info, err := own.awaitReady(o.ctx); err == nil {
			return Started{Running: info, Binary: own.cfg.Artifact, Ran: true}, nil
		} else if o.ctx.Err() != nil {
			return Started{}, ErrOwnerClosed
		}
	}
	m, err := o.cfg.Source.ManifestAt(o.ctx, order.URL, order.Cell.Tag, order.Commit)
	if err != nil {
		return Started{}, err
	}
	if r, ok := o.running(order, m.Fingerprint); ok {
		return Started{Running: r, Ran: true}, nil
	}
	started, err := o.start(order, m, step)
	var damaged *DamagedError
	if errors.As(err, &damaged) { // it has been taken out, so it is built anew
		o.cfg.Log.Warn("a damaged binary is built again", "cell", order.Cell.String(), "err", err)
		started, err = o.start(order, m, step)
	}
	if o.ctx.Err() != nil && err != nil {
		err = ErrOwnerClosed
	}
	return started, err
}

// running is a service of the cell that somebody else runs here, at that commit and with its interface.
func (o *Owner) running(order Order, fingerprint string) (home.Running, bool) {
	list, err := o.cfg.Home.Running()
	if err != nil {
		o.cfg.Log.Warn("damaged registrations of local services", "err", err)
	}
	at := slices.IndexFunc(list, func(r home.Running) bool {
		return r.CID == order.Cell.ID().String() && r.Commit == order.Commit && r.Fingerprint == fingerprint &&
			(r.Spawned == nil || r.Spawned.State == StateReady && (!r.Spawned.Signed || order.Binary == "" || order.Binary == BinaryVerify))
	})
	if at < 0 {
		return home.Running{}, false
	}
	return list[at], true
}

func (o *Owner) start(order Order, m *source.Manifest, step func(string)) (Started, error) {
	begun := time.Now()
	a, err := o.build(order, m, step)
	if err != nil {
		return Started{}, err
	}
	return o.run(order, m, a, time.Since(begun), step)
}

// build takes the binary of an order from the cache, or makes it.
func (o *Owner) build(order Order, m *source.Manifest, step func(string)) (Artifact, error) {
	ribosome, err := NewRibosome(RibosomeConfig{
		Cache: o.cfg.Cache, Source: o.cfg.Source, Home: o.cfg.Home, Open: order.Open, Log: o.cfg.Log, Progress: func(name, _ string) { step(name) },
	})
	if err != nil {
		return Artifact{}, err
	}
	return ribosome.Build(o.ctx, Recipe{
		URL: order.URL, Cell: order.Cell, Commit: order.Commit, Dir: order.Dir, Build: m.File.Build, Trust: m.File.Trust, Binary: order.Binary,
	})
}

// run starts a binary and owns what it has started.
func (o *Owner) run(order Order, m *source.Manifest, a Artifact, took time.Duration, step func(string)) (Started, error) {
	built := time.Now()
	step("start")
	c, err := StartCapsid(o.ctx, CapsidConfig{
		Home: o.cfg.Home, Cache: o.cfg.Cache, Artifact: a, Cell: order.Cell, Fingerprint: m.Fingerprint, File: m.File, API: o.cfg.API,
		Open: order.Open, ReadyTimeout: order.Ready, IdleExit: o.cfg.IdleExit, Log: o.cfg.Log,
	})
	if err != nil {
		return Started{}, err
	}
	o.keep(order.same(), c)
	return Started{Running: c.Info(), Binary: a, BuildTime: took, StartTime: time.Since(built)}, nil
}

// keep owns a service until it ends.
func (o *Owner) keep(key Order, c *Capsid) {
	o.change(func() { o.owned[key] = c })
	o.wg.Go(func() {
		<-c.Done()
		if err := c.Err(); err != nil {
			o.cfg.Log.Error("a service has ended", "cell", key.Cell.String(), "err", err)
		}
		o.change(func() {
			if o.owned[key] == c {
				delete(o.owned, key)
			}
		})
	})
}

// Stop ends the service with this peer ID, and returns when nothing of it is left.
func (o *Owner) Stop(ctx context.Context, peer string) error {
	o.mu.Lock()
	var found *Capsid
	for _, c := range o.owned {
		if c.Info().Peer == peer {
			found = c
		}
	}
	o.mu.Unlock()
	if found == nil {
		return fmt.Errorf("spawn: no instance %s runs here: `cellnode ps` lists those that do", cmp.Or(peer, "without a peer ID"))
	}
	return found.Stop(ctx)
}

// Idle reports whether no service runs and none is about to.
func (o *Owner) Idle() bool {
	idle, _ := o.idle()
	return idle
}

// AwaitIdle returns nil when the Owner is idle, or the error of ctx when that ends before.
func (o *Owner) AwaitIdle(ctx context.Context) error {
	for {
		idle, changed := o.idle()
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle also returns what is closed at the next change.
func (o *Owner) idle() (bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.owned)+len(o.flights) == 0, o.changed
}

// Close ends every service and every build, and returns when nothing of them is left. It may be called more than once.
func (o *Owner) Close() error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.stop()
	o.flying.Wait() // from now on nothing is added
	o.mu.Lock()
	for _, c := range o.owned {
		o.wg.Go(func() { _ = c.Stop(context.Background()) }) // which kills it after its grace
	}
	o.mu.Unlock()
	o.wg.Wait()
	return nil
}
