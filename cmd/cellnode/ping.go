package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
)

func newPing(g *globals) *cobra.Command {
	var f cellFlags
	var count int
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "ping CELL",
		Short: "Measure the round trip to every live instance of a cell",
		Args:  oneCell,
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 {
				return usage("--count is %d: it must be at least 1", count)
			}
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := g.context(cmd, findTimeout+time.Duration(count)*interval)
			defer cancel()
			found, err := c.Settle(ctx, args[0])
			if err != nil && ctx.Err() == nil {
				return err
			}
			if len(found.Instances) == 0 {
				return printFound(cmd, g, found, err)
			}
			answered := false
			for n := range count {
				if n > 0 {
					select {
					case <-time.After(interval):
					case <-ctx.Done():
						return pinged(answered)
					}
				}
				replies, err := c.Ping(ctx, args[0])
				if err != nil {
					return err
				}
				if err := printPings(cmd, g, replies); err != nil {
					return err
				}
				answered = answered || slices.ContainsFunc(replies, func(p client.Pong) bool { return p.Err == nil })
			}
			return pinged(answered)
		},
	}
	f.register(cmd)
	cmd.Flags().IntVarP(&count, "count", "c", 3, "how often each instance is asked")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "the pause between two rounds")
	return cmd
}

// pinged is how a ping ends whose answers have been printed.
func pinged(answered bool) error {
	if answered {
		return nil
	}
	return &codeError{exitNone, errSilent}
}

// pingReply is one line of ping.
type pingReply struct {
	Peer      string  `json:"peer"`
	RTTMillis float64 `json:"rtt_ms"`
	Path      string  `json:"path,omitempty"`
	State     string  `json:"state,omitempty"`
	Error     string  `json:"error,omitempty"`
}

func printPings(cmd *cobra.Command, g *globals, replies []client.Pong) error {
	for _, p := range replies {
		v := pingReply{Peer: p.Peer.String(), RTTMillis: daemon.Millis(p.RTT), Path: p.Path}
		if p.Err != nil {
			v.Error = p.Err.Error()
		} else {
			v.State = p.State.String()
		}
		err := g.print(cmd, v, func(w io.Writer) error {
			if v.Error != "" {
				_, err := fmt.Fprintf(w, "%s  %s\n", v.Peer, v.Error)
				return err
			}
			_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", v.Peer, rtt(v.RTTMillis), v.Path, v.State)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
