package build

import (
	"context"
	"path/filepath"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// Target is a cell that is to be built and started on this machine.
type Target struct {
	Name        string        // local name
	Cell        manifest.Cell // repository and tag
	URL         string        // to fetch from
	Commit      string        // Cell.lock's, or the one that the tag is at; hex
	Dir         string        // with path or clone: the working tree, which has no commit; absolute
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
	f, err := b.facts(ctx, dep)
	if err != nil {
		return nil, err
	}
	return &Target{
		Name: dep.Name, Cell: dep.Cell, URL: dep.Git, Commit: f.commit, Dir: b.tree(dep), Fingerprint: f.fingerprint, File: f.file, Policy: dep.Policy,
	}, nil
}

// tree is the working tree that Cell.toml takes a cell from, or empty.
func (b *Builder) tree(dep manifest.Dependency) string {
	if dep.Path == "" || filepath.IsAbs(dep.Path) {
		return dep.Path
	}
	return filepath.Join(b.consumer.dir, dep.Path)
}
