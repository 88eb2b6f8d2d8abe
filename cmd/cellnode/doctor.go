package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/doctor"
	"github.com/cellnode/cellnode/internal/home"
)

// doctorTimeout is how long doctor waits for others.
const doctorTimeout = 10 * time.Second

// diagnosis is what doctor prints.
type diagnosis struct {
	Worst    doctor.Level     `json:"worst"`
	Findings []doctor.Finding `json:"findings"`
}

func newDoctor(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps this machine from finding and being found, and say what to do",
		Long: `Look at settings, ports, firewall, the way out and in over UDP, NAT, clock, entry points, announced
keys, git, sandbox layers and limits. Each fault comes with its remedy. Nothing is changed.

It tells more while a node runs here. Run in a directory below a Cell.toml it also asks the
repositories and seeds that are named there.

Exit codes: 0 nothing worse than a warning, 2 the settings or files here are wrong, 4 the network or
git does not do.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.context(cmd, doctorTimeout)
			defer cancel()
			cfg := doctor.Config{Notes: home.UnknownVariables(os.Environ()), Log: g.log(cmd, slog.LevelError)}
			if cfg.Home, cfg.HomeErr = openHome(); cfg.HomeErr == nil {
				cfg.Config, cfg.HomeErr = cfg.Home.Config()
				cfg.Nodes, cfg.NodeErr = statuses(ctx, cfg.Home, nil)
			}
			d := diagnosis{Findings: doctor.Look(ctx, cfg)}
			d.Worst = doctor.Worst(d.Findings)
			if err := g.print(cmd, d, d.text); err != nil {
				return err
			}
			return d.ended()
		},
	}
}

func (d diagnosis) text(w io.Writer) error {
	count := map[doctor.Level]int{}
	for _, f := range d.Findings {
		count[f.Level]++
		fmt.Fprintf(w, "%-8s %-10s %s\n", f.Level, f.Check, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "%-19s → %s\n", "", f.Remedy)
		}
	}
	_, err := fmt.Fprintf(w, "%d errors, %d warnings, %d unknown, %d ok\n", count[doctor.Error], count[doctor.Warning], count[doctor.Unknown], count[doctor.OK])
	return err
}

// ended is the exit code: what is wrong here comes before what is wrong elsewhere, since it may be its cause.
func (d diagnosis) ended() error {
	code := exitDone
	for _, f := range d.Findings {
		switch {
		case f.Level != doctor.Error:
		case f.Check == "settings":
			return &codeError{exitUsage, errSilent}
		default:
			code = exitUnreachable
		}
	}
	if code == exitDone {
		return nil
	}
	return &codeError{code, errSilent}
}
