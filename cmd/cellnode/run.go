package main

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay/sidecar"
)

// drainTimeout is how long a leaving instance may finish the calls that are under way.
const drainTimeout = 10 * time.Second

// runFlags are what run is told.
type runFlags struct {
	upstream, cell, commit string
	seedsPush              string
	allowOpen              bool
	settings               settingFlags
}

func newRun(g *globals) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run (--upstream ADDRESS | -- COMMAND …)",
		Short: "Run a node beside an instance of a cell, or start the instance too",
		Long: `run joins the instance's cell, announces it, and passes clients on to it, until it is
interrupted; then it says goodbye and lets the calls that are under way finish.

Which cell it is, the checkout says: Cell.toml, and a clean tree at a tag. Elsewhere, as in a
container, say it with --cell and --commit.`,
		Example: `  cellnode run --upstream unix:/run/exchange.sock
  cellnode run -- ./exchange
  cellnode run --cell cell-hub.acme.com/acme/exchange@v1.3.0 --commit 8f3a… --upstream tcp:127.0.0.1:9000`,
		Args: func(cmd *cobra.Command, args []string) error {
			started := cmd.ArgsLenAtDash() == 0 && len(args) > 0
			if started == (f.upstream != "") || !started && len(args) > 0 {
				return usage("run takes either --upstream unix:PATH or tcp:HOST:PORT, or -- and the command that starts the service")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runInstance(cmd, g, f, args) },
	}
	cmd.Flags().StringVar(&f.upstream, "upstream", "", "where the service listens: unix:PATH or tcp:HOST:PORT")
	cmd.Flags().StringVar(&f.cell, "cell", "", "which cell this is, as host/path@tag or URL@tag (default: what the checkout says)")
	cmd.Flags().StringVar(&f.commit, "commit", "", "the git commit that runs (with --cell)")
	cmd.Flags().StringVar(&f.seedsPush, "seeds-push", "", "keep the list of active instances in the cell's repository true; with =URL, push there")
	cmd.Flags().Lookup("seeds-push").NoOptDefVal = ownRepository
	f.settings.register(cmd)
	cmd.Flags().BoolVar(&f.allowOpen, "allow-open", false, "do not warn that the cell names no publishers")
	return cmd
}

func runInstance(cmd *cobra.Command, g *globals, f runFlags, command []string) error {
	saveMemory()
	outliveLog()
	log := g.log(cmd, slog.LevelInfo)
	if f.seedsPush != "" && f.seedsPush != ownRepository {
		if err := manifest.FetchURL(f.seedsPush); err != nil {
			return usage("--seeds-push: %w", err)
		}
	}
	in, err := f.instance(cmd.Context(), command)
	if err != nil {
		return err
	}
	above := f.settings.layer()
	dir, err := openHome(above)
	if err != nil {
		return err
	}
	cfg := sidecar.Config{
		Above:    []home.Layer{above},
		Instance: in, Seeds: repositoryReader{dir, log}, Trust: repositoryReader{dir, log}, Upstream: f.upstream, Command: command, Home: dir, Log: log, Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(),
	}
	if err := f.publish(&cfg, dir, log); err != nil {
		return err
	}
	var s *sidecar.Sidecar
	started := make(chan struct{})
	defer onHangup(log, func() error {
		<-started
		if s == nil {
			return nil
		}
		return s.Reload()
	})()
	s, err = sidecar.Start(cmd.Context(), cfg)
	close(started)
	if cmd.Context().Err() != nil && err != nil {
		return nil // it was asked to end before it had begun
	}
	if err != nil {
		return err
	}
	if in.Trust == nil && !f.allowOpen {
		log.Warn("this cell is OPEN: its Cell.toml names no publishers, so anybody can answer as an instance of it, and clients must write allow_open = true", "cell", in.Cell.String())
	}
	select {
	case <-cmd.Context().Done():
		return leave(s, log)
	case <-s.Done():
		return errors.Join(s.Err(), leave(s, log))
	}
}

// ownRepository is what --seeds-push says without a URL.
const ownRepository = "own"

// publish has the instance write the seed list, if it was asked to.
func (f runFlags) publish(cfg *sidecar.Config, dir *home.Dir, log *slog.Logger) error {
	if f.seedsPush == "" {
		return nil
	}
	if f.seedsPush != ownRepository {
		cfg.PublishURL = f.seedsPush
	}
	src, err := source.New(source.Config{CacheDir: dir.Path("cache", "git"), Log: log})
	cfg.Publish = src
	return err
}

// repositoryReader reads repositories into the cache. It makes that when it is first asked, when nothing can be wrong with the
// command line any more.
type repositoryReader struct {
	dir *home.Dir
	log *slog.Logger
}

func (r repositoryReader) Seeds(ctx context.Context, url, tag string) (*manifest.SeedList, error) {
	src, err := source.New(source.Config{CacheDir: r.dir.Path("cache", "git"), Log: r.log})
	if err != nil {
		return nil, err
	}
	return src.Seeds(ctx, url, tag)
}

func (r repositoryReader) Trust(ctx context.Context, url string, cell manifest.Cell) (*record.TrustChain, string, error) {
	src, err := source.New(source.Config{CacheDir: r.dir.Path("cache", "git"), Log: r.log})
	if err != nil {
		return nil, "", err
	}
	return src.Trust(ctx, url, cell)
}

// instance says what is to run, or what is wrong with how that was asked for. It writes nothing.
func (f runFlags) instance(ctx context.Context, command []string) (sidecar.Instance, error) {
	if f.upstream != "" {
		if _, err := sidecar.ParseUpstream(f.upstream); err != nil {
			return sidecar.Instance{}, err
		}
	} else if _, err := exec.LookPath(command[0]); err != nil {
		return sidecar.Instance{}, usage("run: %w: name the program that starts the service, as ./exchange", err)
	}
	return sidecar.Identify(ctx, ".", f.cell, f.commit)
}

// leave says goodbye and ends.
func leave(s *sidecar.Sidecar, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.Leave(ctx); err != nil {
		log.Warn("left with calls under way", "err", err)
	}
	return s.Close()
}
