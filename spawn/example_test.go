package spawn_test

import (
	"context"
	"fmt"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/spawn"
)

// A program whose main begins with sandbox.Init builds a cell at the commit of its tag and runs it until ctx ends.
func Example() {
	run := func(ctx context.Context, url, tag string) error {
		dir, err := home.Open()
		if err != nil {
			return err
		}
		src, err := source.New(source.Config{CacheDir: dir.Path("cache", "git")})
		if err != nil {
			return err
		}
		m, err := src.Manifest(ctx, url, tag)
		if err != nil {
			return err
		}
		cache, err := spawn.OpenCache(dir.Path("cache", "spawn"))
		if err != nil {
			return err
		}
		ribosome, err := spawn.NewRibosome(spawn.RibosomeConfig{Cache: cache, Source: src})
		if err != nil {
			return err
		}
		binary, err := ribosome.Build(ctx, spawn.Recipe{URL: url, Cell: m.Cell, Commit: m.Commit, Build: m.File.Build})
		if err != nil {
			return err
		}
		c, err := spawn.StartCapsid(ctx, spawn.CapsidConfig{
			Home: dir, Cache: cache, Artifact: binary, Cell: m.Cell, Fingerprint: m.Fingerprint, File: m.File,
		})
		if err != nil {
			return err
		}
		fmt.Println(c.Info().Socket)
		<-ctx.Done()
		return c.Stop(context.WithoutCancel(ctx))
	}
	_ = run
}
