package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/overlay"
)

// findTimeout is how long find waits for ways that do not end, such as a git host that does not answer.
const findTimeout = 5 * time.Second

// cellFlags are the flags of every command that looks for a cell.
type cellFlags struct {
	only      []string
	allowOpen bool
	calls     bool // the command calls the cell, so that it may be started here; others look only
}

func (f *cellFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "use only these ways of finding: seed, cache, list, dht, mdns, local")
	cmd.Flags().BoolVar(&f.allowOpen, "allow-open", false, "take a cell that names no publishers (for a CELL named by its repository)")
}

// client returns a client for one cell. What is wrong with the flags, the cell, its files and the settings is said
// before anything is opened or written.
func (f *cellFlags) client(cmd *cobra.Command, g *globals, cell string) (*client.Client, error) {
	if err := overlay.CheckWays(f.only); err != nil {
		return nil, usage("--only: %w", err)
	}
	r, err := client.Resolve("", cell)
	if err != nil {
		return nil, err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "cellnode: note: %s\n", note)
	}
	if err := r.Admit(f.allowOpen); err != nil && r.Locked != nil {
		return nil, err // Cell.lock says that it is open; without one the repository is asked later
	}
	if err := checkSettings(); err != nil {
		return nil, err
	}
	return client.New(client.Config{
		AllowOpen: f.allowOpen, Only: f.only, NoSpawn: !f.calls, Daemon: daemonCommand(), Log: g.log(cmd, slog.LevelError),
	})
}

func oneCell(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s takes one CELL: a name from Cell.toml, or host/path@tag", cmd.Name())
	}
	return nil
}

func newFind(g *globals) *cobra.Command {
	var f cellFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "find CELL",
		Short: "List the live instances of a cell: state, round trip, path, source",
		Args:  oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			if watch {
				return watchCell(cmd, g, c, args[0])
			}
			ctx, cancel := g.context(cmd, findTimeout)
			defer cancel()
			found, err := c.Settle(ctx, args[0])
			if err != nil && ctx.Err() == nil {
				return err
			}
			return printFound(cmd, g, found, err)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on, and print the list at each change")
	return cmd
}

func newWatch(g *globals) *cobra.Command {
	var f cellFlags
	cmd := &cobra.Command{
		Use:   "watch CELL",
		Short: "Print the live instances of a cell at each change, until interrupted",
		Args:  oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			return watchCell(cmd, g, c, args[0])
		},
	}
	f.register(cmd)
	return cmd
}

func watchCell(cmd *cobra.Command, g *globals, c *client.Client, cell string) error {
	ctx, cancel := g.context(cmd, 0)
	defer cancel()
	err := c.Watch(ctx, cell, func(found client.Found) error {
		r := daemon.NewReply(found.Cell, found.Snapshot)
		return g.print(cmd, r, func(w io.Writer) error {
			fmt.Fprintf(w, "%s  %d live\n", time.Now().Format(time.TimeOnly), len(r.Instances))
			return printTable(w, r)
		})
	})
	if ctx.Err() != nil {
		return nil // interrupted, or the time is over: that is how a watch ends
	}
	return err
}

func printFound(cmd *cobra.Command, g *globals, found client.Found, ended error) error {
	r := daemon.NewReply(found.Cell, found.Snapshot)
	none := &find.NoneError{Cell: found.Cell, Ways: found.Ways, Refusals: found.Refused, Err: ended}
	if len(r.Instances) == 0 && !g.json {
		return none
	}
	if err := g.print(cmd, r, func(w io.Writer) error { return printTable(w, r) }); err != nil {
		return err
	}
	if len(r.Instances) == 0 {
		return &codeError{noneCode(none), errSilent}
	}
	return nil
}

func printTable(w io.Writer, r daemon.Reply) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tSTATE\tRTT\tPATH\tCOMMIT\tSINCE\tSOURCE")
	for _, i := range r.Instances {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.Peer, i.State, rtt(i.RTTMillis), i.Path, short(i.Commit),
			time.Since(i.Since).Round(time.Second), strings.Join(i.Sources, ","))
	}
	return t.Flush()
}

func rtt(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func short(commit string) string {
	if commit == "" {
		return "–"
	}
	return commit[:min(10, len(commit))]
}

// stream writes one object a line.
func stream(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
