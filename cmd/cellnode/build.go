package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/build"
)

// buildFlags are the flags of the commands that do the build step.
type buildFlags struct {
	update   bool
	anywhere bool // the working directory need not be a consumer's
}

func (f *buildFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.update, "update", false, "take what the repositories say now in place of what Cell.lock says")
}

func (f *buildFlags) builder(cmd *cobra.Command, g *globals, frozen bool) (*build.Builder, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if err := checkSettings(); err != nil && !frozen {
		return nil, err
	}
	b, err := build.New(build.Config{
		Dir: dir, Update: f.update, Frozen: frozen, Anywhere: f.anywhere, Log: g.log(cmd, slog.LevelError),
		Daemon: daemonCommand(), Progress: func(name, step string) { fmt.Fprintf(cmd.ErrOrStderr(), "building %s: %s\n", name, step) },
	})
	if err != nil {
		return nil, err
	}
	for _, note := range b.Notes() {
		fmt.Fprintf(cmd.ErrOrStderr(), "cellnode: note: %s\n", note)
	}
	return b, nil
}

// step runs one build step and shows what came of each cell, also when it ends in an error.
func (f *buildFlags) step(cmd *cobra.Command, g *globals, frozen bool, do func(ctx context.Context, b *build.Builder) ([]*build.Report, error)) error {
	b, err := f.builder(cmd, g, frozen)
	if err != nil {
		return err
	}
	defer b.Close()
	ctx, cancel := g.context(cmd, 0)
	defer cancel()
	reports, err := do(ctx, b)
	for _, r := range reports {
		if printErr := g.print(cmd, r, func(w io.Writer) error { return printReport(w, r) }); printErr != nil {
			return printErr
		}
	}
	return err
}

func printReport(w io.Writer, r *build.Report) error {
	fmt.Fprintf(w, "%s  %s  interface %s: %s\n", r.Name, r.Cell, short(r.Fingerprint), r.Choice)
	for _, reason := range r.Reasons {
		fmt.Fprintf(w, "  %s\n", reason)
	}
	if len(r.Instances) > 0 {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "  INSTANCE\tPATH\tRTT\tFINGERPRINT\tVERDICT")
		for _, i := range r.Instances {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", i.Peer, dash(i.Path), roundTrip(i.RTTMillis), short(i.Fingerprint), i.Verdict)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, p := range r.Packages {
		state := "is up to date"
		switch {
		case p.Changed && p.Written:
			state = "written"
		case p.Changed:
			state = "differs from what is on disk"
		}
		fmt.Fprintf(w, "  package %s %s\n", p.Path, state)
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func roundTrip(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return rtt(ms)
}

func newRemote(g *globals) *cobra.Command {
	var f buildFlags
	var out string
	var open bool
	cmd := &cobra.Command{
		Use:   "remote TYPE=CELL[:SERVICE]…",
		Short: "Generate the typed client of a cell",
		Long: `remote writes a Go package that calls a cell: its messages, a client for each service,
and where to find its instances. Commit it, and Cell.lock; go build needs neither network nor cellnode.

TYPE is what the client is called in Go. CELL is a name from Cell.toml, or host/path@tag.`,
		Example: `  //go:generate cellnode remote ExchangeClient=exchange
  cellnode remote ExchangeClient=exchange LedgerClient=ledger
  cellnode remote Quotes=exchange:QuoteService --out internal/quotes`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("remote takes at least one TYPE=CELL, such as ExchangeClient=exchange")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := build.ParseRequests(args)
			if err != nil {
				return err
			}
			if requests, err = build.Place(requests, "", out); err != nil {
				return err
			}
			for i := range requests {
				requests[i].AllowOpen = open
			}
			return f.step(cmd, g, false, func(ctx context.Context, b *build.Builder) ([]*build.Report, error) { return b.Remote(ctx, requests) })
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&open, "allow-open", false, "take a cell that names no publishers (for a CELL named by its repository)")
	cmd.Flags().StringVar(&out, "out", "", "folder of the package (default: a folder here, named after the cell)")
	return cmd
}

func newBuild(g *globals) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [PACKAGE…]",
		Short: "Resolve every cell, generate the clients and run go build",
		Long: `build resolves every cell of Cell.toml, asks its instances once, writes Cell.lock and the clients that
the //go:generate lines here and below ask for, and then runs go build for the packages.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.step(cmd, g, false, func(ctx context.Context, b *build.Builder) ([]*build.Report, error) {
				reports, err := b.All(ctx)
				if err != nil {
					return reports, err
				}
				return reports, b.Compile(ctx, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})
		},
	}
	f.register(cmd)
	return cmd
}

func newCheck(g *globals) *cobra.Command {
	var f buildFlags
	var frozen, live bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether code, Cell.lock, repositories and instances agree; write nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if frozen && live {
				return usage("--frozen asks nobody and --live asks every instance: take one of them")
			}
			return f.step(cmd, g, frozen, func(ctx context.Context, b *build.Builder) ([]*build.Report, error) {
				if live {
					return b.CheckLive(ctx)
				}
				return b.Check(ctx)
			})
		},
	}
	cmd.Flags().BoolVar(&frozen, "frozen", false, "open no network socket: Cell.toml, Cell.lock and the generated code alone (for CI)")
	cmd.Flags().BoolVar(&live, "live", false, "ask every instance for its interface too, by gRPC reflection where it offers that")
	return cmd
}

func newVendor(g *globals) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "vendor",
		Short: "Write cellvendor/, from which a build with offline_vendor = true is made",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.step(cmd, g, false, func(ctx context.Context, b *build.Builder) ([]*build.Report, error) { return b.Vendor(ctx) })
		},
	}
	f.register(cmd)
	return cmd
}
