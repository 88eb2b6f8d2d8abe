package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

func newID(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "id REPOSITORY TAG | id CELL",
		Short: "Print the CID under which a cell's instances meet",
		Example: `  cellnode id https://cell-hub.acme.com/acme/exchange v1.3.0
  cellnode id git@cell-hub.acme.com:acme/exchange.git@v1.3.0`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("id takes a repository and a tag, or one CELL: a name from Cell.toml, or host/path@tag")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cell, err := namedCell(args)
			if err != nil {
				return err
			}
			id := cell.ID().String()
			v := struct {
				Repository string `json:"repository"`
				Tag        string `json:"tag"`
				CID        string `json:"cid"`
			}{cell.Repository, cell.Tag, id}
			return g.print(cmd, v, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, id)
				return err
			})
		},
	}
}

func namedCell(args []string) (manifest.Cell, error) {
	if len(args) == 2 {
		return manifest.NewCell(args[0], args[1])
	}
	r, err := client.Resolve("", args[0])
	if err != nil {
		return manifest.Cell{}, err
	}
	return r.Cell, nil
}

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
			}{overlay.Version()}
			return g.print(cmd, v, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "cellnode", v.Version)
				return err
			})
		},
	}
}
