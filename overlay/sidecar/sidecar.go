package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/health"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/pipe"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
	"github.com/cellnode/cellnode/overlay/settings"
)

// Config says what to run a node beside.
type Config struct {
	Instance Instance
	// Upstream is where the service listens, unix:PATH or tcp:HOST:PORT. Empty: Command starts it.
	Upstream string
	// Command starts the service; it is told its socket in CELL_SOCKET, and its arguments are left as they are.
	Command []string
	// Seeds reads the seed list of the cell's repository; nil leaves it out.
	Seeds SeedReader
	// Trust reads the trust document of the cell's repository; nil leaves it out.
	Trust TrustReader
	// Publish keeps the seed list in the cell's repository, at PublishURL, equal to who is alive; nil: others do.
	Publish    SeedWriter
	PublishURL string // empty: the cell's own
	// Key is that of a service which its owner has registered; it stays the owner's. Nil: Start takes the key of that name
	// and registers the instance.
	Key *home.Key
	// Home holds the node's key, settings and sockets.
	Home *home.Dir
	// Above are layers over Home's settings and the environment, such as flags.
	Above []home.Layer
	// Out and Err take what Command prints; nil discards it.
	Out, Err io.Writer
	// Log may be nil.
	Log *slog.Logger
}

// A SeedReader reads the seed list of a repository at a tag.
type SeedReader interface {
	Seeds(ctx context.Context, url, tag string) (*manifest.SeedList, error)
}

// A TrustReader reads the trust document of a cell's repository; it returns nil where there is none.
type TrustReader interface {
	Trust(ctx context.Context, url string, cell manifest.Cell) (document *record.TrustChain, at string, err error)
}

// A Sidecar is a node beside one instance of a cell. Its methods may be called by any number of goroutines.
type Sidecar struct {
	cfg Config
	log *slog.Logger
	key *home.Key
	// authority says who may serve the cell; nil: it is open.
	authority *record.Authority
	// unsaved is a grant of this machine's issuer that could not be written, and whether that was said; keepGrant's alone.
	unsaved     *record.Grants
	unsavedSaid bool
	forget      func() // ends the keeping of its trust document
	ended       chan struct{}
	endOnce     sync.Once
	endErr      error // why, once ended is closed
	claim       *home.Registration
	node        *settings.Node
	instance    *overlay.Instance
	command     *Command // nil with an upstream of its own
	monitor     *health.Monitor
	api         *daemon.Server
	upstream    Upstream
	cancel      context.CancelFunc
	wg          sync.WaitGroup
	closing     sync.Once
	closeErr    error
}

// Start starts the service, if Config says so, waits until it is there, and joins its cell. ctx bounds this call alone.
// If Start fails, nothing of it is left running.
func Start(ctx context.Context, cfg Config) (_ *Sidecar, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	run, cancel := context.WithCancel(context.Background())
	s := &Sidecar{cfg: cfg, log: cfg.Log, cancel: cancel, forget: func() {}, ended: make(chan struct{})}
	defer func() {
		if err == nil {
			return
		}
		if s.command != nil { // which may be in the middle of something
			err = errors.Join(err, s.command.stopWithin(startGrace))
		}
		err = errors.Join(err, s.Close())
	}()
	id := cfg.Instance
	if s.key = cfg.Key; s.key == nil {
		if s.key, err = cfg.Home.Key(id.Name); err != nil {
			return nil, err
		}
	}
	if id.Trust != nil {
		if s.authority, err = record.NewAuthority(id.Cell, *id.Trust); err != nil {
			return nil, err
		}
		s.forget = cfg.Home.KeepTrust(s.authority, s.log)
	}
	grants, err := s.firstGrant(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Key == nil {
		if s.claim, err = cfg.Home.Claim(id.Name, id.Cell.ID().String()); err != nil {
			return nil, err
		}
	}
	if err := s.startService(ctx); err != nil {
		return nil, err
	}
	if err := s.startNode(ctx); err != nil {
		return nil, err
	}
	if err := s.serve(ctx, grants); err != nil {
		return nil, err
	}
	if grants != nil {
		s.wg.Go(func() { s.keepGrant(run, grants) })
	}
	if s.authority != nil && cfg.Trust != nil {
		s.wg.Go(func() { s.readTrust(run) })
	}
	if s.command != nil {
		s.wg.Go(func() { s.awaitCommand(run) })
	}
	if cfg.Seeds != nil {
		s.wg.Go(func() { s.readSeeds(run) })
	}
	if cfg.Publish != nil {
		p := &publisher{cell: id.Cell, url: cmp.Or(cfg.PublishURL, id.Cell.URL()), mates: s.instance, writer: cfg.Publish, log: s.log}
		s.wg.Go(func() { p.run(run) })
	}
	if s.claim != nil {
		if err := s.register(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// The pauses between two readings of the repository's seed list: doubling from the first to the last while the instance is
// alone, and the last when it is not.
const (
	seedsFirst = time.Second
	seedsLast  = 5 * time.Minute
)

// readSeeds tells the instance whom the repository names, now and then again: others may have been listed meanwhile. A git
// host that does not answer is no error: the instance meets its cell by the other ways, and git may be gone for good.
func (s *Sidecar) readSeeds(ctx context.Context) {
	cell := s.cfg.Instance.Cell
	var met []manifest.Seed
	level := slog.LevelInfo
	for pause := seedsFirst; ; pause = min(2*pause, seedsLast) {
		list, err := s.cfg.Seeds.Seeds(ctx, cell.URL(), cell.Tag)
		if list != nil && !sameSeeds(list.Instances, met) {
			met = list.Instances
			s.instance.Meet(met)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Log(ctx, level, "no seeds from the repository", "cell", cell.String(), "err", err)
			level = slog.LevelDebug
		}
		if len(s.instance.Seeds()) > 1 {
			pause = seedsLast
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// startService makes the upstream known, starting it if need be.
func (s *Sidecar) startService(ctx context.Context) (err error) {
	if s.cfg.Upstream != "" {
		s.upstream, err = ParseUpstream(s.cfg.Upstream)
		return err
	}
	socket, err := s.claim.Socket()
	if err != nil {
		return err
	}
	if s.upstream, err = ParseUpstream("unix:" + socket); err != nil {
		return err
	}
	s.command, err = StartCommand(ctx, CommandConfig{
		Args: s.cfg.Command, Socket: s.upstream, Name: s.cfg.Instance.Name, Env: s.cfg.Instance.environment(),
		Stdout: s.cfg.Out, Stderr: s.cfg.Err,
	})
	return err
}

func (s *Sidecar) startNode(ctx context.Context) (err error) {
	s.node, err = settings.Start(ctx, settings.Config{Key: s.key.Priv, Home: s.cfg.Home, Above: s.cfg.Above, Log: s.log})
	return err
}

// serve joins the cell. An instance whose service is not well yet says so from its first record on.
func (s *Sidecar) serve(ctx context.Context, grants *record.Grants) error {
	id := s.cfg.Instance
	check, err := health.New(id.Health, s.upstream.DialOnce, id.Dir)
	if err != nil {
		return err
	}
	check = s.withInterface(check)
	if err := s.askAtStart(ctx, check); err != nil {
		check.Close()
		return err
	}
	incarnation, err := s.key.Incarnation(0, s.log)
	if err != nil {
		check.Close()
		return err
	}
	first := record.Serving
	if err := health.Once(ctx, id.Health, check); err != nil {
		first = record.Unhealthy
		s.log.Warn("the service is not well yet", "upstream", s.upstream.String(), "err", err)
	}
	s.instance, err = s.node.Serve(ctx, overlay.Service{
		Cell: id.Cell, Commit: id.Commit, Fingerprint: id.Fingerprint, Interface: id.Offer, Incarnation: incarnation,
		Grant: grants, Authority: s.authority, State: first, Upstream: s.upstream.String(), Connect: s.connect, Carry: s.carry,
	})
	if err != nil {
		check.Close()
		return err
	}
	if s.monitor, err = health.Watch(id.Health, check, s.healthChanged); err != nil {
		check.Close()
	}
	return err
}

// connect reaches the service for one client. A service that is not there for a moment is waited for; one that stays away
// refuses the call.
func (s *Sidecar) connect(ctx context.Context) (net.Conn, error) {
	up, err := s.upstream.Dial(ctx)
	if err != nil {
		s.log.Warn("no connection to the service", "upstream", s.upstream.String(), "err", err)
		return nil, errAway
	}
	return pipe.Arm(up), nil
}

// errAway is what clients hear. Where the service listens is none of their business.
var errAway = errors.New("the service does not answer at the instance")

// carry joins a client to the service.
func (s *Sidecar) carry(ctx context.Context, client, service net.Conn) {
	if err := pipe.Join(ctx, client, service); err != nil {
		s.log.Debug("connection ended", "err", err)
	}
}

func (s *Sidecar) healthChanged(err error) {
	state := record.Serving
	if err != nil {
		state = record.Unhealthy
		s.log.Warn("the service is not well", "upstream", s.upstream.String(), "err", err)
	}
	if err := s.instance.SetState(state); err != nil {
		s.log.Error("state not published", "state", state.String(), "err", err)
	}
}

// register opens the node's API and writes run/NAME.json, by which the clients of this machine find both.
func (s *Sidecar) register() error {
	id, peer := s.cfg.Instance, s.node.ID().String()
	base := "node-" + peer[max(0, len(peer)-8):] + ".sock"
	l, err := s.cfg.Home.Listen(base)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	if id.Offer != nil { // clients of this machine do not ask the node, they look for it
		if err := s.cfg.Home.KeepInterface(id.Fingerprint, id.Offer); err != nil {
			s.log.Warn("clients of this machine cannot compare the interface", "err", err)
		}
	}
	s.api = daemon.Serve(l, daemon.ServerConfig{Node: s.node.API(), Check: home.SameUser, Log: s.log})
	return s.claim.Publish(home.Running{
		Name: id.Name, Cell: id.Cell.String(), CID: id.Cell.ID().String(), Peer: peer, Commit: id.Commit,
		Fingerprint: id.Fingerprint, Socket: s.upstream.String(), API: l.Addr().String(),
	})
}

// Node returns the node, which the Sidecar owns.
func (s *Sidecar) Node() *overlay.Node { return s.node.Node }

// Reload reads the node's settings again, see settings.Node.
func (s *Sidecar) Reload() error { return s.node.Reload() }

// Done is closed when the instance cannot go on: the service that Start started has ended by itself, or the instance may
// not serve its cell any more.
func (s *Sidecar) Done() <-chan struct{} { return s.ended }

// Err returns why, once Done is closed: an *ExitError or a *GrantError; before that nil.
func (s *Sidecar) Err() error {
	select {
	case <-s.ended:
		return s.endErr
	default:
		return nil
	}
}

func (s *Sidecar) end(err error) {
	s.endOnce.Do(func() {
		s.endErr = err
		close(s.ended)
	})
}

func (s *Sidecar) awaitCommand(ctx context.Context) {
	select {
	case <-s.command.Done():
		s.end(s.command.Err())
	case <-ctx.Done():
	}
}

// Leave says goodbye, lets the calls that are under way finish, and ends the service that Start started. It returns
// when no client is connected any more, or with ctx's error when that ends first. Close must still be called.
func (s *Sidecar) Leave(ctx context.Context) error {
	s.monitor.Close() // a service that is asked to stop is not ill
	goodbye, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := s.instance.Leave(goodbye); err != nil {
		s.log.Warn("goodbye not handed to every neighbour", "err", err)
	}
	if s.command != nil {
		// Its own graceful stop tells its clients to go elsewhere (in HTTP/2 by GOAWAY).
		if err := s.command.Stop(ctx); err != nil {
			return err
		}
	}
	return s.instance.Drained(ctx)
}

// Close ends everything at once and returns when it has ended. It may be called more than once.
func (s *Sidecar) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Sidecar) close() error {
	var errs []error
	s.cancel()
	s.wg.Wait()
	s.forget()
	if s.monitor != nil {
		s.monitor.Close()
	}
	if s.api != nil {
		errs = append(errs, s.api.Close())
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	if s.command != nil {
		errs = append(errs, s.command.Close())
	}
	if s.claim != nil {
		errs = append(errs, s.claim.Close())
	}
	if s.key != nil && s.cfg.Key == nil {
		errs = append(errs, s.key.Close())
	}
	return errors.Join(errs...)
}
