package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/testnet"
)

const (
	upTimeout = 5 * time.Minute // building the cell included
	stopGrace = 15 * time.Second
)

func newTestnet(g *globals) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "testnet",
		Short: "Start and steer a network of real nodes on this machine",
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", filepath.Join(os.TempDir(), "cellnode-testnet"), "where the network lives")
	cmd.AddCommand(testnetUp(g, &dir), testnetStatus(g, &dir),
		testnetEnd(&dir, "kill", "End a node as a power cut would", (*testnet.Net).Kill),
		testnetEnd(&dir, "stop", "Ask a node to leave, and wait until it has ended", func(n *testnet.Net, i int) error { return n.Stop(i, stopGrace) }),
		testnetRestart(g, &dir), testnetDown(g, &dir))
	return cmd
}

func testnetUp(g *globals, dir *string) *cobra.Command {
	var nodes int
	var cells []string
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Start a network and return when every node has joined it",
		Example: `  cellnode testnet up -n 8 --cell ../exchange@v1.3.0=3`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := testnet.Config{Dir: *dir, Nodes: nodes}
			for _, c := range cells {
				cell, err := parseTestCell(c)
				if err != nil {
					return err
				}
				cfg.Cells = append(cfg.Cells, cell)
			}
			var err error
			if cfg.Binary, err = os.Executable(); err != nil {
				return err
			}
			if cfg.Publisher, err = testPublisher(); err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, upTimeout)
			defer cancel()
			n, err := testnet.Up(ctx, cfg)
			if err != nil {
				return err
			}
			return printNodes(cmd, g, n)
		},
	}
	cmd.Flags().IntVarP(&nodes, "nodes", "n", 8, "how many nodes, those with an instance included")
	cmd.Flags().StringArrayVar(&cells, "cell", nil, "PATH@TAG=K: K nodes serve an instance of the cell in the git repository at PATH (repeatable)")
	return cmd
}

// testPublisher is the key of this home directory's publisher, who grants the instances of a signed cell; nil where there is
// none.
func testPublisher() (crypto.PrivKey, error) {
	dir, err := home.Open()
	if err != nil {
		return nil, err
	}
	key, err := home.ReadKey(dir.Path("keys", publisherName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return key, err
}

// parseTestCell reads PATH@TAG=K; without =K one node serves the cell.
func parseTestCell(arg string) (testnet.Cell, error) {
	spec, count, counted := strings.Cut(arg, "=")
	at := strings.LastIndexByte(spec, '@')
	k, err := strconv.Atoi(count)
	if !counted {
		k, err = 1, nil
	}
	if at <= 0 || err != nil || k < 1 {
		return testnet.Cell{}, usage("--cell %q is not PATH@TAG=K, as in ../exchange@v1.3.0=3", arg)
	}
	if err := manifest.CheckTag(spec[at+1:]); err != nil {
		return testnet.Cell{}, err
	}
	return testnet.Cell{Repository: spec[:at], Tag: spec[at+1:], Instances: k}, nil
}

func testnetStatus(g *globals, dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the nodes",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := testnet.Open(*dir)
			if err != nil {
				return err
			}
			return printNodes(cmd, g, n)
		},
	}
}

func testnetEnd(dir *string, verb, help string, end func(*testnet.Net, int) error) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NODE",
		Short: help,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s takes one NODE, its number in `cellnode testnet status`", verb)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			index, err := strconv.Atoi(args[0])
			if err != nil {
				return usage("%q is not the number of a node", args[0])
			}
			n, err := testnet.Open(*dir)
			if err != nil {
				return err
			}
			return end(n, index)
		},
	}
}

func testnetRestart(g *globals, dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "restart",
		Short: "Kill every node, start all at once, and return when they have found each other again",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := testnet.Open(*dir)
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, upTimeout)
			defer cancel()
			if err := n.Restart(ctx); err != nil {
				return err
			}
			return printNodes(cmd, g, n)
		},
	}
}

func testnetDown(g *globals, dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End every node and remove the network's directory",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := testnet.Open(*dir)
			if err != nil {
				return err
			}
			ctx, cancel := g.context(cmd, time.Minute)
			defer cancel()
			return n.Down(ctx)
		},
	}
}

func printNodes(cmd *cobra.Command, g *globals, n *testnet.Net) error {
	if g.json {
		return stream(cmd.OutOrStdout(), n.Nodes())
	}
	return g.print(cmd, nil, func(w io.Writer) error {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "NODE\tSTATE\tPID\tPEER\tCELL\tHOME")
		for _, node := range n.Nodes() {
			fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%s\t%s\n", node.Index, node.State, node.PID, node.Peer, orDash(node.Cell), node.Home)
		}
		return t.Flush()
	})
}
