package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/record"
)

// verified is what verify says of one candidate.
type verified struct {
	Peer       string    `json:"peer"`
	Verdict    string    `json:"verdict"` // valid, open (no grant is asked for), unknown (it was not reached), or the code of the refusal
	Why        string    `json:"why,omitempty"`
	Issuer     string    `json:"issuer,omitempty"` // of the grant: the peer ID of who signed it
	Serial     uint64    `json:"serial,omitempty"`
	ValidUntil time.Time `json:"valid_until,omitzero"` // the grant
}

func newVerify(g *globals) *cobra.Command {
	var f cellFlags
	cmd := &cobra.Command{
		Use:   "verify CELL",
		Short: "Say of every instance whether it may serve the cell, by whose grant, and why not",
		Long: `Say of every instance that any way of finding names whether its record is signed well and whether a
publisher of the cell lets it serve: the code of the refusal where not, else who signed its grant, the
number of the grant, and when it ends. The exit code is 3 if any is refused, and else that of find.`,
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
			list, refused := verdicts(x, found)
			if err := g.print(cmd, list, func(w io.Writer) error { return printVerdicts(w, list) }); err != nil {
				return err
			}
			if refused {
				return &codeError{exitRefused, errSilent}
			}
			return explained(x, found, err)
		},
	}
	f.register(cmd)
	return cmd
}

func verdicts(x daemon.Explanation, found client.Found) (list []verified, refused bool) {
	list = []verified{}
	for _, i := range x.Instances {
		v := verified{Peer: i.Peer, Verdict: i.Grant}
		if i.Signature != "valid" && i.Signature != "none" {
			v.Verdict = i.Signature
		}
		switch v.Verdict {
		case "valid", "unknown", daemon.TrustOpen:
		default:
			refused = true
			if i.Probe != nil {
				v.Why = i.Probe.Error
			}
		}
		v.name(i.Record, found)
		list = append(list, v)
	}
	return list, refused
}

// name adds what the grant in a record says, if there is one.
func (v *verified) name(data []byte, found client.Found) {
	rec, err := record.Verify(data, found.Cell.ID(), time.Now())
	if err != nil || len(rec.Grant) == 0 {
		return
	}
	if grants, err := record.OpenGrants(rec.Grant); err == nil {
		own := grants.Chain[0]
		v.Issuer, v.Serial, v.ValidUntil = own.Issuer.String(), own.Serial, own.NotAfter.UTC()
	}
}

func printVerdicts(w io.Writer, list []verified) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range list {
		serial, until := "–", "–"
		if v.Serial != 0 {
			serial, until = strconv.FormatUint(v.Serial, 10), v.ValidUntil.Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%s\t%s\tgrant %s\tby %s\tuntil %s\t%s\n", v.Peer, v.Verdict, serial, orDash(v.Issuer), until, v.Why)
	}
	return t.Flush()
}
