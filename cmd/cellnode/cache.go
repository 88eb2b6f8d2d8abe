package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/spawn"
)

func newCache(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Show and tidy up the binaries that spawn has built"}
	cmd.AddCommand(newCacheLs(g), newCachePrune(g), newCacheVerify(g))
	return cmd
}

// withCache opens the cache of the home directory.
func withCache(do func(*spawn.Cache) error) error {
	dir, err := home.Open()
	if err != nil {
		return err
	}
	cache, err := openCache(dir)
	if err != nil {
		return err
	}
	return do(cache)
}

func newCacheLs(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the binaries",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCache(func(c *spawn.Cache) error {
				list, err := c.List()
				if err != nil {
					return err
				}
				return g.print(cmd, list, func(w io.Writer) error { return printArtifacts(w, list) })
			})
		},
	}
}

func printArtifacts(w io.Writer, list []spawn.Artifact) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "CELL\tCOMMIT\tSYSTEM\tTOOLCHAIN\tSHA256\tMIB\tUSED")
	for _, a := range list {
		fmt.Fprintf(t, "%s@%s\t%s\t%s/%s\t%s\t%s\t%.1f\t%s ago\n", a.Repository, a.Tag, short(a.Commit), a.OS, a.Arch, a.Toolchain,
			short(a.SHA256), float64(a.Size)/(1<<20), time.Since(a.Used).Round(time.Second))
	}
	return t.Flush()
}

func newCachePrune(g *globals) *cobra.Command {
	var unused time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove binaries that were not used for long, and what interrupted builds have left",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCache(func(c *spawn.Cache) error {
				before := time.Now().Add(-unused)
				if all {
					before = time.Now().Add(time.Hour)
				}
				p, err := c.Prune(before, all)
				if err != nil {
					return err
				}
				return g.print(cmd, p, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "removed %d builds, %.1f MiB\n", p.Builds, float64(p.Bytes)/(1<<20))
					return err
				})
			})
		},
	}
	cmd.Flags().DurationVar(&unused, "unused", 30*24*time.Hour, "remove what was not used for this long")
	cmd.Flags().BoolVar(&all, "all", false, "remove everything, the toolchain's own caches too")
	return cmd
}

func newCacheVerify(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Compare every binary with its hash, and remove those that are damaged",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withCache(func(c *spawn.Cache) error {
				checked, damaged, err := c.Verify(cmd.Context())
				if err != nil {
					return err
				}
				if len(damaged) > 0 {
					return fmt.Errorf("cache: %d of %d binaries were damaged, and are removed: %s", len(damaged), checked, strings.Join(damaged, ", "))
				}
				return g.print(cmd, map[string]int{"checked": checked}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%d binaries are as they were built\n", checked)
					return err
				})
			})
		},
	}
}
