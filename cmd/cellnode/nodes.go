package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
)

// oneName refuses more than one NAME.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("%s takes at most one NAME", cmd.CommandPath())
	}
	return nil
}

// eachNode asks the nodes of this machine, or with a name those that serve its instances, one after the other. A socket
// that a killed node has left is passed over; if nobody is left, the error says so.
func eachNode(dir *home.Dir, names []string, ask func(*daemon.Client) error) error {
	sockets, failed := nodeSockets(dir, names)
	asked := false
	for _, path := range sockets {
		c := daemon.NewClient(path)
		err := ask(c)
		c.Close()
		if notRunning(err) {
			continue
		}
		asked = true
		var refused *daemon.Error
		if err != nil && !errors.As(err, &refused) {
			err = unreachable("%w", err)
		}
		failed = errors.Join(failed, err)
	}
	if !asked && failed == nil {
		return noNode(dir, names)
	}
	return failed
}

func newPeers(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "peers [NAME]",
		Short: "Show whom the nodes of this machine know: members of their cells, neighbours in the DHT",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, apiTimeout)
			defer cancel()
			return eachNode(dir, args, func(c *daemon.Client) error {
				p, err := c.Peers(ctx)
				if err != nil {
					return err
				}
				return g.print(cmd, p, func(w io.Writer) error { return printPeers(w, p) })
			})
		},
	}
}

func printPeers(w io.Writer, p daemon.Peers) error {
	fmt.Fprintf(w, "node %s\n", p.Peer)
	for _, c := range p.Cells {
		fmt.Fprintf(w, "cell %s\n", c.Cell)
		for _, m := range c.Members {
			heard := "itself"
			if !m.Self {
				heard = "heard " + time.Since(m.Heard).Round(time.Second).String() + " ago"
			}
			fmt.Fprintf(w, "  %s  %-9s %-7s %-16s %s\n", m.Peer, m.State, m.Status, heard, strings.Join(m.Addrs, " "))
		}
	}
	fmt.Fprintf(w, "dht  %d neighbours\n", len(p.DHT))
	for _, d := range p.DHT {
		fmt.Fprintf(w, "  %s  %s\n", d.Peer, orDash(strings.Join(d.Addrs, " ")))
	}
	return nil
}

func newEvents(g *globals) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "events [NAME]",
		Short: "Show what has happened to the cells that this machine's nodes serve: joined, suspected, dead, left",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, 0)
			defer cancel()
			if follow {
				return followEvents(ctx, cmd, g, dir, args)
			}
			return eachNode(dir, args, func(c *daemon.Client) error {
				ctx, cancel := context.WithTimeout(ctx, apiTimeout)
				defer cancel()
				return c.Events(ctx, 0, false, func(e daemon.Event) error { return printEvent(cmd, g, e) })
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on, until interrupted")
	return cmd
}

func printEvent(cmd *cobra.Command, g *globals, e daemon.Event) error {
	return g.print(cmd, e, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s  %-9s %s  %s  %s\n", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Kind, e.Cell, e.Peer, e.Detail)
		return err
	})
}

// followEvents follows all nodes at once, until ctx ends or the last of them does.
func followEvents(ctx context.Context, cmd *cobra.Command, g *globals, dir *home.Dir, names []string) error {
	sockets, err := nodeSockets(dir, names)
	if err != nil {
		return err
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		failed  error
		running int
	)
	for _, path := range sockets {
		wg.Go(func() {
			c := daemon.NewClient(path)
			defer c.Close()
			err := c.Events(ctx, 0, true, func(e daemon.Event) error {
				mu.Lock()
				defer mu.Unlock()
				return printEvent(cmd, g, e)
			})
			mu.Lock()
			defer mu.Unlock()
			if !notRunning(err) {
				running++
			}
			if err != nil && ctx.Err() == nil && !notRunning(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				failed = errors.Join(failed, unreachable("%w", err))
			}
		})
	}
	wg.Wait()
	if running == 0 {
		return noNode(dir, names)
	}
	return failed
}

func newDrain(g *globals) *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "drain [NAME]",
		Short: "Take instances of this machine out of use: nobody new is answered, open calls finish",
		Long: `drain tells every client that the instances take no new calls; what is open goes on. With --undo they
are used again. An instance that is stopped (SIGTERM) drains by itself.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, apiTimeout)
			defer cancel()
			return drain(ctx, cmd, g, dir, args, undo)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "use them again")
	return cmd
}

// drain leaves nodes without an instance alone.
func drain(ctx context.Context, cmd *cobra.Command, g *globals, dir *home.Dir, names []string, undo bool) error {
	total := daemon.Drained{Cells: []string{}}
	err := eachNode(dir, names, func(c *daemon.Client) error {
		s, err := c.Status(ctx)
		if err != nil || len(s.Instances) == 0 {
			return err
		}
		done, err := c.Drain(ctx, daemon.Drain{Undo: undo})
		total.Cells = append(total.Cells, done.Cells...)
		return err
	})
	if err != nil {
		return err
	}
	if len(total.Cells) == 0 {
		return &codeError{exitNone, fmt.Errorf("no instance runs in %s: `cellnode status` lists what does", dir.Path())}
	}
	return g.print(cmd, total, func(w io.Writer) error {
		for _, cell := range total.Cells {
			fmt.Fprintf(w, "%s %s\n", map[bool]string{false: "draining", true: "serving"}[undo], cell)
		}
		return nil
	})
}
