package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// grantFlags are what grant is told.
type grantFlags struct {
	cell, peer, commit, key, with string
	ttl                           time.Duration
	issue                         bool
}

func newGrant(g *globals) *cobra.Command {
	var f grantFlags
	cmd := &cobra.Command{
		Use:   "grant --peer PEER",
		Short: "Let a peer serve a cell: print a grant, signed with a publisher's key",
		Long: `grant prints one line, which the instance needs as keys/NAME.grant in its home directory or in
CELL_GRANT. It is no secret: it is worth something only to the peer that it names.

With --issue the holder may sign grants for others for a week at most, and no wider ones than its own: that
is for whatever starts instances by itself. It then runs grant --with FILE, with its own key and grant.`,
		Example: `  cellnode grant --peer 12D3KooW… > exchange.grant              # in the cell's checkout
  cellnode grant --cell cell-hub.acme.com/acme/exchange@v1.3.0 --peer 12D3KooW… --ttl 168h`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printGrant(cmd, g, f) },
	}
	cmd.Flags().StringVar(&f.cell, "cell", "", "which cell, as host/path@tag or URL@tag (default: what the checkout says)")
	cmd.Flags().StringVar(&f.peer, "peer", "", "to whom: the peer ID that `cellnode run` names")
	cmd.Flags().StringVar(&f.commit, "commit", "", "only while this commit runs, 40 or 64 hexadecimal digits")
	cmd.Flags().DurationVar(&f.ttl, "ttl", 0, "for how long (default 720h, with --issue 168h; at most 2160h)")
	cmd.Flags().BoolVar(&f.issue, "issue", false, "let the peer sign grants for others, and not serve itself")
	cmd.Flags().StringVar(&f.key, "key", publisherName, "the key to sign with, by its name in the home directory")
	cmd.Flags().StringVar(&f.with, "with", "", "file with the grant that lets the key's own peer issue")
	return cmd
}

func printGrant(cmd *cobra.Command, g *globals, f grantFlags) error {
	grant, err := f.grant(cmd.Context(), time.Now())
	if err != nil {
		return err
	}
	dir, err := home.Open()
	if err != nil {
		return err
	}
	key, err := publisherKey(dir, f.key)
	if err != nil {
		return err
	}
	var above *record.Grants
	if f.with != "" {
		if above, err = readGrants(f.with); err != nil {
			return err
		}
	}
	signed, err := record.SignGrant(key, grant, above)
	if err != nil {
		return err
	}
	v := struct {
		Cell     string    `json:"cell"`
		Peer     string    `json:"peer"`
		Serial   uint64    `json:"serial"`
		NotAfter time.Time `json:"not_after"`
		Grant    string    `json:"grant"`
	}{f.cell, f.peer, grant.Serial, grant.NotAfter.UTC(), signed.Text()}
	return g.print(cmd, v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, signed.Text())
		return err
	})
}

// grant is what the flags ask for.
func (f *grantFlags) grant(ctx context.Context, now time.Time) (record.Grant, error) {
	out := record.Grant{Commit: f.commit, Capabilities: []record.Capability{record.Serve}, Serial: rand.Uint64() | 1}
	id, err := peer.Decode(f.peer)
	if err != nil {
		return out, usage("--peer %q is no peer ID: take the one that `cellnode run` names, 12D3KooW…", f.peer)
	}
	cell, err := f.named(ctx)
	if err != nil {
		return out, err
	}
	f.cell = cell.String()
	ttl, longest := record.DefaultGrant, record.MaxGrant
	if f.issue {
		ttl, longest = record.MaxIssue, record.MaxIssue
		out.Capabilities = []record.Capability{record.Issue}
	}
	if f.ttl != 0 {
		ttl = f.ttl
	}
	if ttl < time.Minute || ttl > longest {
		return out, usage("--ttl is %s: write 1m to %s", ttl, longest)
	}
	out.Cell, out.Peer, out.NotBefore, out.NotAfter = cell.ID(), id, now.Truncate(time.Second), now.Add(ttl).Truncate(time.Second)
	return out, nil
}

func (f *grantFlags) named(ctx context.Context) (manifest.Cell, error) {
	if f.cell != "" {
		return manifest.ParseCell(f.cell)
	}
	c, err := source.ReadCheckout(ctx, ".")
	if err != nil {
		return manifest.Cell{}, fmt.Errorf("%w; or name the cell with --cell", err)
	}
	return c.Cell, nil
}

func readGrants(path string) (*record.Grants, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usage("--with: %w", err)
	}
	if info.Size() > 4096 {
		return nil, usage("--with: %s has %d bytes: it is no grant", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("--with: %w", err)
	}
	g, err := record.ParseGrants(string(text))
	if err != nil {
		return nil, usage("--with: %s: %w", path, err)
	}
	return g, nil
}
