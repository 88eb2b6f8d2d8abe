package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/spawn"
)

// builtHere is the value of --binary without one: the commit is built.
const builtHere = "built"

// binaryFlags are the flags of publish --binary.
type binaryFlags struct {
	file, system, key, url string
}

func (f *binaryFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "binary", "", "sign a binary and offer it in the repository: the one in FILE, or without FILE one that is built now as spawn does")
	cmd.Flags().Lookup("binary").NoOptDefVal = builtHere
	cmd.Flags().StringVar(&f.system, "system", runtime.GOOS+"/"+runtime.GOARCH, "what the binary of --binary=FILE is for")
	cmd.Flags().StringVar(&f.key, "key", publisherName, "the key to sign a binary with, by its name in the home directory")
	cmd.Flags().StringVar(&f.url, "url", "", "where to push a binary (default: where the cell is fetched from)")
}

// offered is what publish --binary says.
type offeredBinary struct {
	Cell   string `json:"cell"`
	Commit string `json:"commit"`
	System string `json:"system"`
	Go     string `json:"go,omitempty"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	URL    string `json:"url"`
}

// publisher is who offers a binary of one commit.
type publisher struct {
	*binaryFlags
	home   *home.Dir
	source *source.Source
	recipe spawn.Recipe
}

// publishBinary signs a binary of the commit that is checked out, which has the tag, and pushes both into the cell's repository.
func publishBinary(cmd *cobra.Command, g *globals, f *binaryFlags) error {
	ctx, cancel := g.context(cmd, 0)
	defer cancel()
	p, err := f.open(ctx, cmd, g)
	if err != nil {
		return err
	}
	key, err := publisherKey(p.home, f.key)
	if err != nil {
		return err
	}
	data, version, err := p.binary(ctx, cmd, g)
	if err != nil {
		return err
	}
	system, arch, _ := strings.Cut(f.system, "/")
	sum := sha256.Sum256(data)
	one := record.Binary{OS: system, Arch: arch, Go: version, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
	signed, err := record.SealBinaries(key, record.Binaries{
		Cell: p.recipe.Cell.ID(), Commit: p.recipe.Commit, Issued: time.Now(), List: []record.Binary{one},
	})
	if err != nil {
		return err
	}
	if err := p.push(ctx, source.Offer{Signed: signed, Binary: data}); err != nil {
		return err
	}
	said := offeredBinary{p.recipe.Cell.String(), p.recipe.Commit, f.system, version, one.SHA256, len(data), p.recipe.URL}
	return g.print(cmd, said, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "signed and offered: %s for %s, commit %s, SHA-256 %s, %d bytes\n",
			said.Cell, said.System, short(said.Commit), short(said.SHA256), said.Size)
		return err
	})
}

// open finds out what is published.
func (f *binaryFlags) open(ctx context.Context, cmd *cobra.Command, g *globals) (*publisher, error) {
	dir, err := home.Open()
	if err != nil {
		return nil, err
	}
	p := &publisher{binaryFlags: f, home: dir}
	if p.source, err = seedSource(cmd, g); err != nil {
		return nil, err
	}
	c, err := source.ReadCheckout(ctx, ".")
	if errors.Is(err, source.ErrNoPackage) {
		return nil, errNoPackage
	}
	if err != nil {
		return nil, err
	}
	if c.File.Trust == nil {
		return nil, errOpenBinary
	}
	p.recipe = spawn.Recipe{
		URL: cmp.Or(f.url, c.Cell.URL()), Cell: c.Cell, Commit: c.Commit, Build: c.File.Build, Trust: c.File.Trust, Binary: spawn.BinarySourceOnly,
	}
	return p, nil
}

// binary is the one to offer, and the version of Go that has made it; empty: it was not made by Go.
func (p *publisher) binary(ctx context.Context, cmd *cobra.Command, g *globals) (data []byte, version string, err error) {
	path := p.file
	if path == builtHere {
		if p.system != runtime.GOOS+"/"+runtime.GOARCH {
			return nil, "", usage("--system %s: what is built here is for %s/%s; build it there, or pass the file with --binary=FILE", p.system, runtime.GOOS, runtime.GOARCH)
		}
		a, err := p.build(ctx, cmd, g)
		if err != nil {
			return nil, "", err
		}
		path, version = a.Path, a.Toolchain
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", usage("--binary: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > source.MaxBinary {
		return nil, "", usage("%s is no file of at most %d bytes, which is what repositories take", path, source.MaxBinary)
	}
	if made, err := buildinfo.ReadFile(path); err == nil && version == "" {
		version = made.GoVersion
	}
	data, err = os.ReadFile(path)
	return data, version, err
}

// build makes the binary as a consumer that builds from source does, so that both come to the same bytes.
func (p *publisher) build(ctx context.Context, cmd *cobra.Command, g *globals) (spawn.Artifact, error) {
	cache, err := openCache(p.home)
	if err != nil {
		return spawn.Artifact{}, err
	}
	ribosome, err := spawn.NewRibosome(spawn.RibosomeConfig{
		Cache: cache, Source: p.source, Log: g.log(cmd, slog.LevelWarn), Progress: printStep(cmd),
	})
	if err != nil {
		return spawn.Artifact{}, err
	}
	return ribosome.Build(ctx, p.recipe)
}

// push offers it, unless it would be refused by everybody.
func (p *publisher) push(ctx context.Context, offer source.Offer) error {
	authority, err := record.NewAuthority(p.recipe.Cell, *p.recipe.Trust)
	if err != nil {
		return err
	}
	document, _, err := p.source.Trust(ctx, p.recipe.URL, p.recipe.Cell)
	if err == nil && document != nil {
		_, err = authority.Take(document.Bytes(), time.Now())
	}
	if err != nil {
		return err
	}
	if _, err := authority.Binaries(offer.Signed, p.recipe.Commit, time.Now()); err != nil {
		return &codeError{exitRefused, err}
	}
	_, at, err := p.source.Binary(ctx, p.recipe.URL, p.recipe.Cell, p.recipe.Commit, p.system)
	if err != nil {
		return err
	}
	return p.source.PushBinary(ctx, p.recipe.URL, p.recipe.Cell, p.recipe.Commit, p.system, offer, at)
}

var errOpenBinary = errors.New("the cell is open: its Cell.toml has no [trust], so nobody would take a binary of it; `cellnode init` writes one")
