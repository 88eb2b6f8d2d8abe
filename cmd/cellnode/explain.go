package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
)

func newExplain(g *globals) *cobra.Command {
	var f cellFlags
	cmd := &cobra.Command{
		Use:   "explain CELL",
		Short: "Say of every instance who named it, what became of it, and why it is used or not",
		Long: `Say of every instance of a cell that any way of finding has named: which ways named it, whether its
record is signed well, what the last probe brought, how far it is, whether others hold it for dead,
and why calls go to it or do not; and of each way, what it answered.

Where find returns as soon as the list is good, explain waits for the slowest way, up to --timeout.
The exit codes are those of find.`,
		Args: oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := g.context(cmd, findTimeout)
			defer cancel()
			x, found, err := c.Explain(ctx, args[0])
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err := g.print(cmd, x, func(w io.Writer) error { return printExplanation(w, x) }); err != nil {
				return err
			}
			return explained(x, found, err)
		},
	}
	f.register(cmd)
	return cmd
}

// explained ends explain as find would end.
func explained(x daemon.Explanation, found client.Found, ended error) error {
	if x.Used > 0 {
		return nil
	}
	for _, i := range x.Instances {
		if i.Verdict == string(find.Mismatch) {
			return &codeError{exitMismatch, errSilent}
		}
	}
	if len(found.Instances) > 0 {
		return nil // none takes calls now, and find lists them
	}
	return &codeError{noneCode(&find.NoneError{Cell: found.Cell, Ways: found.Ways, Refusals: found.Refused, Err: ended}), errSilent}
}

func printExplanation(w io.Writer, x daemon.Explanation) error {
	fmt.Fprintf(w, "%s  %s\n", x.Cell, x.CID)
	if x.Commit != "" || x.Fingerprint != "" {
		fmt.Fprintf(w, "wanted: commit %s, interface %s\n", short(x.Commit), short(x.Fingerprint))
	}
	for _, i := range x.Instances {
		fmt.Fprintf(w, "\n%s  %s\n  %s\n", i.Peer, i.Verdict, i.Why)
		for _, line := range explainedLines(i) {
			fmt.Fprintf(w, "  %-10s %s\n", line[0], line[1])
		}
	}
	fmt.Fprintln(w, "\nways")
	for _, way := range x.Ways {
		fmt.Fprintf(w, "  %-10s %s\n", way.Way, wayLine(way))
	}
	unsettled := ""
	if !x.Settled {
		unsettled = "; not everybody has answered yet: pass a longer --timeout to wait for them"
	}
	_, err := fmt.Fprintf(w, "\ncalls go to %d of %d%s\n", x.Used, len(x.Instances), unsettled)
	return err
}

func explainedLines(i daemon.Explained) [][2]string {
	where := strings.Join(i.Addrs, " ")
	if i.Socket != "" {
		where = strings.TrimSpace(i.Socket + " " + where)
	}
	return [][2]string{
		{"named by", orDash(strings.Join(i.Sources, ", "))},
		{"at", orDash(where)},
		{"says", fmt.Sprintf("%s, commit %s, interface %s", i.State, short(i.Commit), short(i.Fingerprint))},
		{"signature", signature(i)},
		{"grant", grant(i.Grant)},
		{"probe", probe(i)},
		{"suspicion", suspicion(i)},
	}
}

func signature(i daemon.Explained) string {
	switch {
	case i.Signature == "valid":
		return fmt.Sprintf("valid until %s", i.ValidUntil.Format(time.DateTime+"Z"))
	case i.Signature == "none" && i.Socket != "":
		return "none: a service on this machine holds its lock instead"
	case i.Signature == "none":
		return "none: no record of it has been seen"
	}
	return "refused: " + i.Signature
}

func grant(verdict string) string {
	if verdict == daemon.TrustOpen {
		return "none is asked for: the cell is open"
	}
	if verdict == "unknown" {
		return "none has been seen"
	}
	return verdict
}

func probe(i daemon.Explained) string {
	p := i.Probe
	switch {
	case p == nil && i.Socket != "":
		return "none needed: its socket is on this machine"
	case p == nil:
		return "none yet"
	case p.Error != "":
		return fmt.Sprintf("failed %s ago, %d in a row: %s", ago(p.At), p.Failures, p.Error)
	case p.Failures > 0:
		return fmt.Sprintf("lost %s ago; asked again", ago(p.At))
	}
	return fmt.Sprintf("answered %s ago: %s over %s", ago(p.At), rtt(i.RTTMillis), i.Path)
}

func suspicion(i daemon.Explained) string {
	switch {
	case i.Suspected:
		return "others hold it for dead, and it has not answered since"
	case i.Disproved > 0:
		return fmt.Sprintf("none: it answered after each of %d reports of its death", i.Disproved)
	}
	return "none"
}

func wayLine(w daemon.WayReport) string {
	named := fmt.Sprintf("named %d", w.Found)
	switch {
	case w.Error != "":
		return fmt.Sprintf("%s; failed: %s", named, w.Error)
	case !w.Done:
		return named + " so far, still looking"
	}
	return fmt.Sprintf("%s in %s", named, rtt(w.Millis))
}

func ago(t time.Time) time.Duration {
	return time.Since(t).Round(100 * time.Millisecond)
}
