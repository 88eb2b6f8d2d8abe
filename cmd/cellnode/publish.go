package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// publishTimeout is for reading a repository on this disk.
const publishTimeout = time.Minute

func newPublish(g *globals) *cobra.Command {
	var out, tag string
	var f binaryFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Write Cell.json: what this repository says at its tag, in one file for a web server",
		Long: `publish writes Cell.json: commit, interface, publishers and the files themselves at the tag. A
web server that answers GET <repository>/Cell.json with it, as application/vnd.cell+json, spares consumers
git: one request is all that a first build needs. Without it they read the repository, as ever.

It is read out of git, so it is run when the tag is set; the working tree does not matter. The file is not
for the repository itself, where it could not name its own commit.

With --binary it offers a ready-made binary instead: it builds the commit that is checked out as spawn does, signs the
result with a publisher's key, and pushes both to refs/cell/bin in the repository. Consumers take it in
place of a build when the signature holds, unless their policy says binary = "rebuild" or "source-only".`,
		Example: `  git tag v1.3.0 && cellnode publish --out /srv/www/acme/exchange/Cell.json
  cellnode publish --tag v1.2.0 --out -          # to standard output
  cellnode publish --binary                      # a signed binary for this system
  cellnode publish --binary=dist/exchange-arm64 --system linux/arm64`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file != "" {
				if tag != "" {
					return usage("--tag goes not with --binary: check the tag out (git checkout %s)", tag)
				}
				return publishBinary(cmd, g, &f)
			}
			return publish(cmd, g, out, tag)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&out, "out", "Cell.json", "the file to write; - for standard output")
	cmd.Flags().StringVar(&tag, "tag", "", "the tag to publish (default: the one that HEAD has)")
	return cmd
}

// published is what publish says of the file that it has written.
type published struct {
	File        string `json:"file"`
	Cell        string `json:"cell"`
	Commit      string `json:"commit"`
	Fingerprint string `json:"fingerprint"`
}

func publish(cmd *cobra.Command, g *globals, out, tag string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if source.IsTracked(cmd.Context(), filepath.Dir(out), filepath.Base(out)) {
		return usage("%s is in git, and a file in a commit cannot name that commit: git rm it, or write elsewhere with --out", out)
	}
	src, err := seedSource(cmd, g)
	if err != nil {
		return err
	}
	ctx, cancel := g.context(cmd, publishTimeout)
	defer cancel()
	p, err := src.Published(ctx, dir, tag)
	if errors.Is(err, source.ErrNoPackage) {
		return errNoPackage
	}
	if err != nil {
		return err
	}
	data, err := p.Marshal()
	if err != nil {
		return err
	}
	if out == "-" {
		_, err := cmd.OutOrStdout().Write(data)
		return err
	}
	if err := manifest.WriteFile(out, data, 0o644); err != nil {
		return err
	}
	cell := manifest.Cell{Repository: p.Repository, Tag: p.Tag}
	said := published{out, cell.String(), p.Commit, p.Interface.Fingerprint}
	return g.print(cmd, said, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "written: %s, of %s at %s, interface %s; serve it at %s/Cell.json as %s\n",
			out, cell, short(p.Commit), short(p.Interface.Fingerprint), cell.URL(), source.MediaType)
		return err
	})
}

var errNoPackage = usage("no Cell.toml with a [package] here or above: write one with `cellnode init`")
