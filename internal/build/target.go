package build

import (
	"context"
	"fmt"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// Target is a cell that is to be built and started on this machine.
type Target struct {
	Name        string        // local name
	Cell        manifest.Cell // repository and tag
	URL         string        // to fetch from
	Commit      string        // Cell.lock's, or the one that the tag is at; hex
	Fingerprint string        // of its interface, hex; empty: it has none
	File        *manifest.File
	Policy      manifest.Policy
}

// Source reads the repositories of Targets. It is the Builder's.
func (b *Builder) Source() *source.Source { return b.source }

// Target resolves a name in Cell.toml, or a repository with a tag, and checks it against Cell.lock as the build step
// does.
func (b *Builder) Target(ctx context.Context, arg string) (*Target, error) {
	dep, err := b.dependency(Request{Cell: arg})
	if err != nil {
		return nil, err
	}
	if dep.Path != "" || dep.Clone {
		return nil, fmt.Errorf("build: cell %s has no commit to build, for Cell.toml takes it from a working tree (path or clone): start it there with cellnode run, or take the key out", dep.Name)
	}
	f, err := b.facts(ctx, dep)
	if err != nil {
		return nil, err
	}
	return &Target{
		Name: dep.Name, Cell: dep.Cell, URL: dep.Git, Commit: f.commit, Fingerprint: f.fingerprint, File: f.file, Policy: dep.Policy,
	}, nil
}
