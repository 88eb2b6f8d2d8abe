package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

func newSeeds(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seeds",
		Short: "The list of active instances that a cell's repository carries",
		Long: `A cell's repository carries a list of its active instances, at the ref refs/cell/seeds (or the
branch cell/seeds): whoever knows the repository finds an instance by it, and that one knows the others.

Instances started with run --seeds-push keep it true by themselves. A CI job with a deploy key can
do it in their place: cellnode seeds push CELL.`,
	}
	cmd.AddCommand(newSeedsShow(g), newSeedsPush(g), newSeedsPull(g))
	return cmd
}

// seedSource reads repositories; a list that is a minute old will not do for somebody who asks for it by name.
func seedSource(cmd *cobra.Command, g *globals) (*source.Source, error) {
	dir, err := openHome()
	if err != nil {
		return nil, err
	}
	return source.New(source.Config{CacheDir: dir.Path("cache", "git"), SeedTTL: -1, Log: g.log(cmd, slog.LevelError)})
}

// shownSeed is one line of seeds show.
type shownSeed struct {
	Peer    string     `json:"peer"`
	Addrs   []string   `json:"addrs"`
	Record  string     `json:"record"` // valid, none, or why it is refused
	Expires *time.Time `json:"expires,omitempty"`
}

type shownSeeds struct {
	Cell      string      `json:"cell"`
	CID       string      `json:"cid"`
	Updated   *time.Time  `json:"updated,omitempty"`
	Instances []shownSeed `json:"instances"`
}

func newSeedsShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show CELL",
		Short: "Print the list that the repository carries now",
		Args:  oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, list, err := readSeeds(cmd, g, args[0])
			if err != nil {
				return err
			}
			shown := show(r.Cell, list, time.Now())
			if err := g.print(cmd, shown, shown.text); err != nil {
				return err
			}
			if len(list.Instances) == 0 {
				return errSilent
			}
			return nil
		},
	}
}

func readSeeds(cmd *cobra.Command, g *globals, name string) (*client.Resolved, *manifest.SeedList, error) {
	r, err := client.Resolve("", name)
	if err != nil {
		return nil, nil, err
	}
	src, err := seedSource(cmd, g)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := g.context(cmd, time.Minute)
	defer cancel()
	list, err := src.SeedsFrom(ctx, r.Cell, r.Git)
	return r, list, err
}

func show(cell manifest.Cell, list *manifest.SeedList, now time.Time) *shownSeeds {
	s := &shownSeeds{Cell: cell.String(), CID: cell.ID().String(), Instances: []shownSeed{}}
	if !list.Updated.IsZero() {
		s.Updated = &list.Updated
	}
	for _, i := range list.Instances {
		line := shownSeed{Peer: i.Peer.String(), Addrs: []string{}, Record: "none"}
		for _, a := range i.Addrs {
			line.Addrs = append(line.Addrs, a.String())
		}
		if i.Record != nil {
			line.Record = "valid"
			if rec, err := record.Verify(i.Record, cell.ID(), now); err != nil {
				line.Record = err.Error()
			} else {
				line.Expires = &rec.Expires
			}
		}
		s.Instances = append(s.Instances, line)
	}
	return s
}

func (s *shownSeeds) text(w io.Writer) error {
	age := "of unknown age"
	if s.Updated != nil {
		age = "written " + time.Since(*s.Updated).Round(time.Second).String() + " ago"
	}
	count := fmt.Sprint(len(s.Instances), " instances")
	if len(s.Instances) == 1 {
		count = "1 instance"
	}
	fmt.Fprintf(w, "%s  %s, %s\n", s.Cell, count, age)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, i := range s.Instances {
		fmt.Fprintf(t, "%s\t%s\t%s\n", i.Peer, i.Record, strings.Join(i.Addrs, " "))
	}
	return t.Flush()
}

func newSeedsPush(g *globals) *cobra.Command {
	var f cellFlags
	var url, out string
	cmd := &cobra.Command{
		Use:   "push CELL",
		Short: "Write the live instances into the cell's repository",
		Long: `push finds the live instances of a cell and writes them into its repository, as a commit without
parents at refs/cell/seeds (or at the branch cell/seeds where the host refuses such a ref). If somebody
else writes at the same time, nothing is lost: it looks again. If no instance is found, the list stays.

With --out it writes a file instead, for a web server that has the cell's Cell.json: instances.json beside it.`,
		Args: oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			if url != "" && out != "" {
				return usage("--url and --out are two places to write to: choose one")
			}
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Resolve(args[0])
			if err != nil {
				return err
			}
			src, err := seedSource(cmd, g)
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, time.Minute)
			defer cancel()
			list, err := foundSeeds(ctx, c, args[0], r.Cell)
			if err != nil {
				return err
			}
			if out != "" {
				err = writeSeeds(out, list)
			} else {
				err = pushSeeds(ctx, src, cmp.Or(url, r.Git), r.Cell, list)
			}
			if err != nil {
				return err
			}
			shown := show(r.Cell, list, time.Now())
			return g.print(cmd, shown, shown.text)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&url, "url", "", "where to push, such as git@host:acme/exchange.git (default: where the cell is fetched from)")
	cmd.Flags().StringVar(&out, "out", "", "write this file instead, such as /srv/www/acme/exchange/instances.json")
	return cmd
}

// foundSeeds is the list of the instances that live now; it has one at least.
func foundSeeds(ctx context.Context, c *client.Client, name string, cell manifest.Cell) (*manifest.SeedList, error) {
	search, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, err := c.Settle(search, name)
	if err != nil && search.Err() == nil {
		return nil, err
	}
	list := &manifest.SeedList{Cell: cell.ID(), Updated: time.Now().UTC().Truncate(time.Second)}
	for _, i := range found.Instances {
		if i.Record != nil && i.Live() {
			list.Instances = append(list.Instances, manifest.Seed{Peer: i.Peer, Addrs: i.Addrs, Record: i.Record.Envelope})
		}
	}
	localErr := addLocal(ctx, list) // one here that does not say keeps no other off the list
	if len(list.Instances) == 0 {
		return nil, cmp.Or(localErr, error(&find.NoneError{Cell: cell, Ways: found.Ways}))
	}
	slices.SortFunc(list.Instances, func(a, b manifest.Seed) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
	return list, nil
}

// addLocal adds the instances on this machine, which are found by their sockets and so without a record. Their nodes say at which
// addresses others reach them; what was spawned here is for this machine alone.
func addLocal(ctx context.Context, list *manifest.SeedList) error {
	dir, err := openHome()
	if err != nil {
		return err
	}
	running, err := dir.Running()
	for _, r := range running {
		if r.CID != list.Cell.String() || r.Spawned != nil || slices.ContainsFunc(list.Instances, func(s manifest.Seed) bool { return s.Peer.String() == r.Peer }) {
			continue
		}
		s, localErr := localSeed(ctx, r)
		if localErr == nil && len(s.Addrs) > 0 {
			list.Instances = append(list.Instances, s)
		}
		err = errors.Join(err, localErr)
	}
	return err
}

func localSeed(ctx context.Context, r home.Running) (s manifest.Seed, err error) {
	api := daemon.NewClient(r.API)
	defer api.Close()
	status, err := api.Status(ctx)
	if err != nil {
		return s, err
	}
	if s.Peer, err = peer.Decode(status.Peer); err != nil {
		return s, fmt.Errorf("the node of %s: %w", r.Name, err)
	}
	for _, text := range status.Addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return s, fmt.Errorf("the node of %s: %w", r.Name, err)
		}
		s.Addrs = append(s.Addrs, a)
	}
	return s, nil
}

func writeSeeds(path string, list *manifest.SeedList) error {
	data, err := list.Marshal()
	if err != nil {
		return err
	}
	return manifest.WriteFile(path, data, 0o644)
}

// pushSeeds writes the list until nobody else has written meanwhile.
func pushSeeds(ctx context.Context, src *source.Source, url string, cell manifest.Cell, list *manifest.SeedList) error {
	for {
		_, at, err := src.PublishedSeeds(ctx, url, cell)
		if err != nil {
			return err
		}
		err = src.PushSeeds(ctx, url, cell, list, at)
		var stale *source.StaleError
		if !errors.As(err, &stale) || ctx.Err() != nil {
			return err
		}
	}
}

func newSeedsPull(g *globals) *cobra.Command {
	var f buildFlags
	return &cobra.Command{
		Use:   "pull NAME",
		Short: "Take the list that the repository carries now into Cell.lock",
		Args:  oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := f.builder(cmd, g, false)
			if err != nil {
				return err
			}
			defer b.Close()
			r, list, err := readSeeds(cmd, g, args[0])
			if err != nil {
				return err
			}
			if len(list.Instances) == 0 {
				return &find.NoneError{Cell: r.Cell, Ways: []find.WayReport{{Way: find.Seed, Done: true}}}
			}
			if err := b.SetSeeds(r.Name, list.Instances); err != nil {
				return err
			}
			shown := show(r.Cell, list, time.Now())
			return g.print(cmd, shown, shown.text)
		},
	}
}
