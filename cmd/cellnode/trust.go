package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// trustFlags are the flags of every command that makes a version of a trust document.
type trustFlags struct {
	cell, url, out string
	keys           []string
	ttl            time.Duration
}

func (f *trustFlags) register(cmd *cobra.Command) {
	f.registerCell(cmd)
	cmd.Flags().StringSliceVar(&f.keys, "key", []string{publisherName}, "the keys to sign with, by their names in the home directory")
	cmd.Flags().DurationVar(&f.ttl, "ttl", record.DefaultTrust, "for how long the document is valid, at most 8784h")
	cmd.Flags().StringVar(&f.out, "out", "", "write the document to this file, and send it nowhere")
}

func (f *trustFlags) registerCell(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.cell, "cell", "", "which cell, as a name from Cell.toml, host/path@tag or URL@tag (default: what the checkout says)")
	cmd.Flags().StringVar(&f.url, "url", "", "where to push, such as git@host:acme/exchange.git (default: where the cell is fetched from)")
}

func newTrust(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Change who the publishers of a cell are, and take grants back",
		Long: `A cell's Cell.toml names its first publishers. Every change after that is a version of the trust
document, which lies at the ref refs/cell/trust of the repository and travels from instance to instance
within seconds: other keys, and peers and grants that no longer count. Each version is signed by as many
publishers as the one before it asks for, and nobody takes an older one after a newer one.

A version that still lacks signatures is written to a file: trust sign puts another one under it.`,
	}
	cmd.AddCommand(newTrustShow(g), newTrustRevoke(g), newTrustPardon(g), newTrustAdd(g), newTrustRemove(g), newTrustRenew(g), newTrustSign(g), newTrustPush(g))
	return cmd
}

// trusted is a cell whose trust is looked at, with what its repository says of it.
type trusted struct {
	cell      manifest.Cell
	url       string            // where the repository is fetched from
	authority *record.Authority // has taken document
	first     record.Trust
	document  *record.TrustChain // nil: version 0 holds
	at        string             // object of the ref
	source    *source.Source
}

// open reads what holds now, and verifies it.
func (f *trustFlags) open(ctx context.Context, cmd *cobra.Command, g *globals) (*trusted, error) {
	src, err := seedSource(cmd, g)
	if err != nil {
		return nil, err
	}
	t := &trusted{source: src}
	said, err := f.said(ctx, t)
	if err != nil {
		return nil, err
	}
	if said == nil {
		return nil, fmt.Errorf("cell %s is open: its Cell.toml has no [trust], so there is nobody who could sign a trust document; `cellnode init` writes one", t.cell)
	}
	if t.authority, err = record.NewAuthority(t.cell, *said); err != nil {
		return nil, err
	}
	t.first = t.authority.First()
	t.document, t.at, err = src.Trust(ctx, t.url, t.cell)
	if t.document != nil {
		_, err = t.authority.Take(t.document.Bytes(), time.Now())
	}
	return t, err
}

// said names the cell, and returns the [trust] of its Cell.toml.
func (f *trustFlags) said(ctx context.Context, t *trusted) (*manifest.Trust, error) {
	if f.cell == "" {
		c, err := source.ReadCheckout(ctx, ".")
		if err != nil {
			return nil, fmt.Errorf("%w; or name the cell with --cell", err)
		}
		t.cell, t.url = c.Cell, c.Cell.URL()
		if f.url != "" {
			t.url = f.url
		}
		return c.File.Trust, nil
	}
	r, err := client.Resolve("", f.cell)
	if err != nil {
		return nil, err
	}
	t.cell, t.url = r.Cell, r.Git
	if f.url != "" {
		t.url = f.url
	}
	m, err := t.source.ManifestFrom(ctx, r.Cell, t.url)
	if err != nil {
		return nil, err
	}
	return m.File.Trust, nil
}

// next makes the version behind the newest one, changed.
func (f *trustFlags) next(cmd *cobra.Command, g *globals, change func(*record.Trust) error) error {
	if f.ttl < time.Hour || f.ttl > record.MaxTrust {
		return usage("--ttl is %s: write 1h to %s", f.ttl, record.MaxTrust)
	}
	ctx, cancel := g.context(cmd, time.Minute)
	defer cancel()
	t, err := f.open(ctx, cmd, g)
	if err != nil {
		return err
	}
	next := t.document.Newest(t.first)
	next.Version++
	next.Issued, next.Expires = time.Now(), time.Now().Add(f.ttl)
	next.Publishers, next.RevokedPeers, next.RevokedSerials = slices.Clone(next.Publishers), slices.Clone(next.RevokedPeers), slices.Clone(next.RevokedSerials)
	if err := change(&next); err != nil {
		return err
	}
	longer, err := t.document.Append(next)
	if err != nil {
		return err
	}
	if err := f.sign(longer); err != nil {
		return err
	}
	return f.finish(ctx, cmd, g, t, longer)
}

func (f *trustFlags) sign(document *record.TrustChain) error {
	dir, err := home.Open()
	if err != nil {
		return err
	}
	for _, name := range f.keys {
		var key crypto.PrivKey
		if key, err = publisherKey(dir, name); err != nil {
			return err
		}
		if err := document.Sign(key); err != nil {
			return err
		}
	}
	return nil
}

// finish sends a document off, if enough have signed it and no file is asked for, and else writes it down.
func (f *trustFlags) finish(ctx context.Context, cmd *cobra.Command, g *globals, t *trusted, document *record.TrustChain) error {
	out := f.out
	err := document.Verify(t.first)
	var refusal *record.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Code == record.CodeThreshold:
		if out == "" {
			out = fmt.Sprintf("trust-%d", document.Newest(t.first).Version)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "cellnode: note: %s; have another publisher run `cellnode trust sign %s`\n", refusal.Detail, out)
	case err != nil:
		return err
	default:
		document = document.Compact(t.first)
		if _, err := t.authority.Take(document.Bytes(), time.Now()); err != nil {
			return err // somebody else has made another version meanwhile
		}
	}
	if out == "" {
		return f.send(ctx, cmd, g, t, document)
	}
	if err := manifest.WriteFile(out, []byte(document.Text()+"\n"), 0o644); err != nil {
		return err
	}
	return g.print(cmd, newShownTrust(t.cell, document.Newest(t.first), out, 0), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, out)
		return err
	})
}

// send writes the document into the repository and hands it to live instances. One of the two suffices: instances ask the
// repository, and whoever comes to the repository later is told by instances. They are looked for before it is written:
// then the search, too, would hold them to it.
func (f *trustFlags) send(ctx context.Context, cmd *cobra.Command, g *globals, t *trusted, document *record.TrustChain) error {
	c, err := client.New(client.Config{NoSpawn: true, Log: g.log(cmd, slog.LevelError)})
	if err != nil {
		return err
	}
	defer c.Close()
	search, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, err := c.Settle(search, t.url+"@"+t.cell.Tag)
	if err != nil && search.Err() == nil {
		return err
	}
	pushed := t.source.PushTrust(ctx, t.url, t.cell, document, t.at)
	told, untold := c.Entrust(ctx, found, document.Bytes())
	if pushed != nil && told == 0 {
		return pushed
	}
	for _, err := range []error{pushed, untold} {
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "cellnode: note: %v\n", err)
		}
	}
	shown := newShownTrust(t.cell, document.Newest(t.first), "", told)
	return g.print(cmd, shown, shown.text)
}

func newTrustShow(g *globals) *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print who the publishers are now, and whom they have revoked",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.context(cmd, time.Minute)
			defer cancel()
			t, err := f.open(ctx, cmd, g)
			if err != nil {
				return err
			}
			shown := newShownTrust(t.cell, t.document.Newest(t.first), "", 0)
			return g.print(cmd, shown, shown.text)
		},
	}
	f.registerCell(cmd)
	return cmd
}

// revocation is what revoke and pardon are told.
type revocation struct {
	peers   []string
	serials []string
}

func (r *revocation) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&r.peers, "peer", nil, "every grant of this peer")
	cmd.Flags().StringSliceVar(&r.serials, "serial", nil, "the one grant with this number, which grant --json and verify print")
}

func (r *revocation) parse() (peers []peer.ID, serials []uint64, err error) {
	for _, text := range r.peers {
		id, err := peer.Decode(text)
		if err != nil {
			return nil, nil, usage("--peer %q is no peer ID: `cellnode verify CELL` prints those of the instances, 12D3KooW…", text)
		}
		peers = append(peers, id)
	}
	for _, text := range r.serials {
		var serial uint64
		if _, err := fmt.Sscan(text, &serial); err != nil || serial == 0 {
			return nil, nil, usage("--serial %q is no number of a grant: `cellnode verify CELL` prints them", text)
		}
		serials = append(serials, serial)
	}
	if len(peers)+len(serials) == 0 {
		return nil, nil, usage("name what is meant with --peer or --serial: `cellnode verify CELL` prints both")
	}
	return peers, serials, nil
}

func newTrustRevoke(g *globals) *cobra.Command {
	return newRevocation(g, "revoke", "Take grants back: of a peer, or a single one", func(t *record.Trust, peers []peer.ID, serials []uint64) {
		t.RevokedPeers = union(t.RevokedPeers, peers)
		t.RevokedSerials = union(t.RevokedSerials, serials)
	})
}

func newTrustPardon(g *globals) *cobra.Command {
	return newRevocation(g, "pardon", "Let grants count again that were revoked", func(t *record.Trust, peers []peer.ID, serials []uint64) {
		t.RevokedPeers = slices.DeleteFunc(t.RevokedPeers, func(id peer.ID) bool { return slices.Contains(peers, id) })
		t.RevokedSerials = slices.DeleteFunc(t.RevokedSerials, func(n uint64) bool { return slices.Contains(serials, n) })
	})
}

func newRevocation(g *globals, verb, short string, change func(*record.Trust, []peer.ID, []uint64)) *cobra.Command {
	var f trustFlags
	var r revocation
	cmd := &cobra.Command{
		Use:   verb + " --peer PEER | --serial N",
		Short: short,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			peers, serials, err := r.parse()
			if err != nil {
				return err
			}
			return f.next(cmd, g, func(t *record.Trust) error {
				change(t, peers, serials)
				return nil
			})
		},
	}
	f.register(cmd)
	r.register(cmd)
	return cmd
}

func union[T comparable](list, more []T) []T {
	for _, v := range more {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

func newTrustAdd(g *globals) *cobra.Command {
	var f trustFlags
	var may []string
	var threshold int
	cmd := &cobra.Command{
		Use:   "add KEY",
		Short: "Make somebody a publisher, by the key that `cellnode key show` prints",
		Args:  oneKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			added, err := newPublisher(args[0], may)
			if err != nil {
				return err
			}
			return f.next(cmd, g, func(t *record.Trust) error {
				t.Publishers = append(slices.DeleteFunc(t.Publishers, func(p record.Publisher) bool { return p.Key == added.Key }), added)
				return setThreshold(t, threshold)
			})
		},
	}
	f.register(cmd)
	cmd.Flags().StringSliceVar(&may, "for", []string{"trust", "grant", "binary"}, "what the key may sign")
	cmd.Flags().IntVar(&threshold, "threshold", 0, "how many publishers must sign the next version (default: as many as now)")
	return cmd
}

func newPublisher(key string, may []string) (record.Publisher, error) {
	raw, err := manifest.ParseKey(key)
	if err != nil {
		return record.Publisher{}, err
	}
	p := record.Publisher{Key: manifest.FormatKey(raw)}
	for _, name := range may {
		i := slices.IndexFunc(record.PublisherCapabilities(), func(c record.PublisherCapability) bool { return c.String() == name })
		if i < 0 {
			return p, usage("--for %q is nothing that a key signs: choose from trust, grant, binary", name)
		}
		p.Capabilities = append(p.Capabilities, record.PublisherCapabilities()[i])
	}
	return p, nil
}

func setThreshold(t *record.Trust, threshold int) error {
	if threshold == 0 {
		return nil
	}
	if most := len(t.May(record.SignTrust)); threshold < 1 || threshold > most {
		return usage("--threshold is %d: write 1 to %d, the number of publishers who may sign the document", threshold, most)
	}
	t.Threshold = threshold
	return nil
}

func newTrustRemove(g *globals) *cobra.Command {
	var f trustFlags
	var threshold int
	cmd := &cobra.Command{
		Use:   "remove KEY",
		Short: "Let a key be no publisher any more: grants that it has signed end at once",
		Args:  oneKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			removed, err := newPublisher(args[0], nil)
			if err != nil {
				return err
			}
			return f.next(cmd, g, func(t *record.Trust) error {
				before := len(t.Publishers)
				t.Publishers = slices.DeleteFunc(t.Publishers, func(p record.Publisher) bool { return p.Key == removed.Key })
				if len(t.Publishers) == before {
					return usage("%s is no publisher: `cellnode trust show` prints who is", removed.Key)
				}
				return setThreshold(t, threshold)
			})
		},
	}
	f.register(cmd)
	cmd.Flags().IntVar(&threshold, "threshold", 0, "how many publishers must sign the next version (default: as many as now)")
	return cmd
}

func oneKey(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("trust %s takes one KEY, as `cellnode key show` prints it: ed25519:…", cmd.Name())
	}
	return nil
}

func newTrustRenew(g *globals) *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Say the same again, for longer: nobody takes an instance under a document that has ended",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.next(cmd, g, func(*record.Trust) error { return nil })
		},
	}
	f.register(cmd)
	return cmd
}

func newTrustSign(g *globals) *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Put a publisher's signature under a document that lacks some",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.fromFile(cmd, g, args[0], func(document *record.TrustChain) error {
				if f.out == "" {
					f.out = args[0]
				}
				return f.sign(document)
			})
		},
	}
	f.registerCell(cmd)
	cmd.Flags().StringSliceVar(&f.keys, "key", []string{publisherName}, "the keys to sign with, by their names in the home directory")
	cmd.Flags().StringVar(&f.out, "out", "", "write the document to this file (default: the same)")
	return cmd
}

func newTrustPush(g *globals) *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "push FILE",
		Short: "Write a signed document into the repository and hand it to live instances",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.fromFile(cmd, g, args[0], func(*record.TrustChain) error { return nil })
		},
	}
	f.registerCell(cmd)
	return cmd
}

func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("trust %s takes one FILE, as --out of the other trust commands writes it", cmd.Name())
	}
	return nil
}

func (f *trustFlags) fromFile(cmd *cobra.Command, g *globals, path string, change func(*record.TrustChain) error) error {
	document, err := readTrust(path)
	if err != nil {
		return err
	}
	ctx, cancel := g.context(cmd, time.Minute)
	defer cancel()
	t, err := f.open(ctx, cmd, g)
	if err != nil {
		return err
	}
	if err := change(document); err != nil {
		return err
	}
	return f.finish(ctx, cmd, g, t, document)
}

func readTrust(path string) (*record.TrustChain, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usage("trust document: %w", err)
	}
	if info.Size() > 2*record.MaxTrustSize {
		return nil, usage("trust document: %s has %d bytes, which none has", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("trust document: %w", err)
	}
	document, err := record.ParseTrust(string(text))
	if err != nil {
		return nil, usage("trust document: %s: %w", path, err)
	}
	return document, nil
}
