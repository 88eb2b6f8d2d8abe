package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn"
)

// instances are the services that spawn runs in a home directory; with a name those of that cell.
func instances(dir *home.Dir, name string) ([]home.Running, error) {
	list, err := dir.Running()
	list = slices.DeleteFunc(list, func(r home.Running) bool { return r.Spawned == nil || name != "" && r.Name != name })
	return list, err
}

func newPs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "Show the services that spawn runs on this machine",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			list, err := instances(dir, "")
			if err != nil {
				return err
			}
			if list == nil {
				list = []home.Running{}
			}
			return g.print(cmd, list, func(w io.Writer) error { return printInstances(w, list) })
		},
	}
}

func printInstances(w io.Writer, list []home.Running) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tPROCESS\tUP\tRESTARTS\tSHARED\tSANDBOX\tSOCKET\tCELL")
	for _, r := range list {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%v\t%s\t%s\t%s\n", r.Name, r.Spawned.State, r.Spawned.PID, time.Since(r.Since).Round(time.Second),
			r.Spawned.Restarts, r.Spawned.Shared, r.Spawned.Sandbox, r.Socket, r.Cell)
	}
	err := t.Flush()
	for _, r := range list {
		if r.Spawned.Local != "" {
			fmt.Fprintf(w, "%s stays local: %s\n", r.Name, r.Spawned.Local)
		}
	}
	return err
}

func oneInstance(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s takes one NAME: `cellnode ps` lists them", cmd.Name())
	}
	return manifest.CheckName(args[0])
}

// stopTimeout is longer than a service's grace, after which it is killed.
const stopTimeout = 3 * spawn.DefaultGrace

func newStop(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "stop NAME",
		Short: "End a service that spawn runs, and everything that it has started",
		Args:  oneInstance,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			list, err := instances(dir, args[0])
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return &codeError{exitNone, fmt.Errorf("spawn runs no instance of %s in %s: `cellnode ps` lists those that it does", args[0], dir.Path())}
			}
			ctx, cancel := g.context(cmd, stopTimeout)
			defer cancel()
			for _, r := range list {
				if err := endOwner(ctx, dir, r); err != nil {
					return err
				}
				if err := g.print(cmd, r, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "stopped %s\n", r.Cell)
					return err
				}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// endOwner ends a service: the machine's node is asked to, any other owner ends with it. It returns when the service is
// gone.
func endOwner(ctx context.Context, dir *home.Dir, r home.Running) error {
	if r.Spawned.API != "" {
		c := daemon.NewClient(r.Spawned.API)
		defer c.Close()
		return c.Stop(ctx, r.Peer)
	}
	owner, err := os.FindProcess(r.PID)
	if err != nil {
		return err
	}
	if err := owner.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("process %d: %w", r.PID, err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := instances(dir, r.Name)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, func(other home.Running) bool { return other.PID == r.PID && other.Since.Equal(r.Since) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", r.PID, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func newLogs(g *globals) *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a service that spawn runs, or ran, has written",
		Args:  oneInstance,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			path := dir.Path("log", args[0]+".log")
			if list, err := instances(dir, args[0]); err == nil && len(list) > 0 {
				path = list[0].Spawned.Log
			}
			files := spawn.LogFiles(path)
			if len(files) == 0 {
				return &codeError{exitNone, fmt.Errorf("there is no log of %s in %s", args[0], dir.Path("log"))}
			}
			ctx, cancel := g.context(cmd, 0)
			defer cancel()
			return printLog(ctx, cmd.OutOrStdout(), files, lines, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on, until interrupted")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "the last lines to begin with (0: all)")
	return cmd
}

// printLog writes the last lines of files, and with follow what is added to the last of them.
func printLog(ctx context.Context, w io.Writer, files []string, lines int, follow bool) error {
	var kept []string
	var end int64
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		end = 0
		for r := bufio.NewReader(file); ; {
			line, err := r.ReadString('\n')
			end += int64(len(line))
			if line != "" {
				kept = append(kept, line)
			}
			if over := len(kept) - lines; lines > 0 && over > 0 {
				kept = kept[over:]
			}
			if err != nil {
				break
			}
		}
		file.Close()
	}
	for _, line := range kept {
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	return followLog(ctx, w, files[len(files)-1], end)
}

// logLook is how often a log is looked at for more.
const logLook = 100 * time.Millisecond

// followLog writes what is added to path after its first bytes. A file that is shorter than that is a new one.
func followLog(ctx context.Context, w io.Writer, path string, from int64) error {
	tick := time.NewTicker(logLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		file, err := os.Open(path)
		if err != nil {
			continue // between two files
		}
		if info, err := file.Stat(); err == nil && info.Size() < from {
			from = 0
		}
		n, err := io.Copy(w, io.NewSectionReader(file, from, 1<<40))
		file.Close()
		if from += n; err != nil {
			return err
		}
	}
}
