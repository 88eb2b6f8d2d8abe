package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
)

const apiTimeout = 5 * time.Second

func newStatus(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show the nodes of this machine: addresses, DHT, and for each instance how far it is announced",
		Args:  oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := g.context(cmd, apiTimeout)
			defer cancel()
			dir, err := home.Open()
			if err != nil {
				return err
			}
			list, silent := statuses(ctx, dir, args)
			for _, s := range list {
				if err := g.print(cmd, s, func(w io.Writer) error { return printStatus(w, s) }); err != nil {
					return err
				}
			}
			if len(list) == 0 && silent == nil {
				return noNode(dir, args)
			}
			return silent
		},
	}
}

// statuses asks every node whose socket lies in the home directory. The error is of those that run and do not answer,
// or of a file that says nothing of its node; a socket that a killed node has left is none.
func statuses(ctx context.Context, dir *home.Dir, names []string) (list []daemon.Status, failed error) {
	sockets, failed := nodeSockets(dir, names)
	for _, path := range sockets {
		c := daemon.NewClient(path)
		s, err := c.Status(ctx)
		c.Close()
		switch {
		case err == nil:
			list = append(list, s)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		default:
			failed = errors.Join(failed, unreachable("%w", err))
		}
	}
	return list, failed
}

func noNode(dir *home.Dir, names []string) error {
	if len(names) > 0 {
		return &codeError{exitNone, fmt.Errorf("no instance of %s runs in %s: `cellnode status` lists those that do", names[0], dir.Path())}
	}
	return &codeError{exitNone, fmt.Errorf("no node runs in %s: start one with `cellnode run` beside an instance, or `cellnode daemon start`", dir.Path())}
}

func nodeSockets(dir *home.Dir, names []string) ([]string, error) {
	var list []string
	if len(names) == 0 {
		path, err := dir.SocketPath(daemon.Socket)
		if err != nil {
			return nil, err
		}
		list = append(list, path)
	}
	running, err := dir.Running()
	for _, r := range running {
		if r.API != "" && (len(names) == 0 || r.Name == names[0]) {
			list = append(list, r.API)
		}
	}
	return list, err
}

func printStatus(w io.Writer, s daemon.Status) error {
	fmt.Fprintf(w, "node      %s  up %s  %s\n", s.Peer, time.Since(s.Started).Round(time.Second), s.Version)
	fmt.Fprintf(w, "listening %s\n", orDash(strings.Join(s.Listen, " ")))
	fmt.Fprintf(w, "reachable %s\n", orDash(strings.Join(s.Addrs, " ")))
	fmt.Fprintf(w, "dht       %s, %d peers\n", s.DHT.State, s.DHT.Peers)
	for _, i := range s.Instances {
		fmt.Fprintf(w, "cell      %s  %s  %d members  commit %s  upstream %s\n", i.Cell, i.State, i.Members, short(i.Commit), orDash(i.Upstream))
		fmt.Fprintf(w, "          %s\n", announced(i))
	}
	for _, n := range s.Notes {
		fmt.Fprintf(w, "note      %s\n", n)
	}
	return nil
}

func announced(i daemon.CellStatus) string {
	a := i.Announced
	switch {
	case a == nil:
		return "not announced: the DHT is switched off"
	case a.Error != "":
		return "not announced: " + a.Error
	case a.Alone:
		return "alone: no other node yet"
	case a.ByOthers:
		return "announced by other members"
	case a.Last.IsZero():
		return "announcing"
	}
	read := "not read back yet"
	if a.ReadBack {
		read = "read back"
	}
	return fmt.Sprintf("announced to %d nodes %s ago, %s, next in %s", a.Replicas, time.Since(a.Last).Round(time.Second), read, time.Until(a.Next).Round(time.Second))
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
