package sidecar

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// Instance is what an instance is known as.
type Instance struct {
	Name        string // of its key and its files below run/
	Cell        manifest.Cell
	Commit      string                        // hex
	Fingerprint string                        // hex; empty: not stated
	Interface   []protoreflect.FileDescriptor // that the service may not contradict; none: nothing is asked
	Health      manifest.Health
	Env         map[string]string // for a service that is started
	Dir         string            // of the checkout; empty: none
	Trust       *manifest.Trust   // instances need a grant by one of its keys; nil: the cell is open
}

// Identify says what instance runs in dir. With an empty cell the checkout says it: its Cell.toml, and a clean tree at a
// tag. Otherwise cell (host/path@tag or URL@tag) and commit do, and a Cell.toml in dir adds name, interface and health
// check.
func Identify(ctx context.Context, dir, cell, commit string) (Instance, error) {
	if cell == "" {
		if commit != "" {
			return Instance{}, errors.New("sidecar: --commit goes with --cell: a checkout says itself what it is at")
		}
		c, err := source.ReadCheckout(ctx, dir)
		if errors.Is(err, source.ErrNoPackage) {
			return Instance{}, fmt.Errorf("%w: run this in the cell's checkout, or say what runs with --cell and --commit", err)
		}
		if err != nil {
			return Instance{}, err
		}
		return fromCheckout(c)
	}
	named, err := manifest.ParseCell(cell)
	if err != nil {
		return Instance{}, err
	}
	if commit == "" {
		return Instance{}, errors.New("sidecar: --cell goes with --commit, the git commit that runs: give all of its 40 (or 64) hexadecimal digits")
	}
	if raw, err := hex.DecodeString(commit); err != nil || len(raw) != 20 && len(raw) != 32 {
		return Instance{}, fmt.Errorf("sidecar: --commit %q is not a git commit: give all of its 40 (or 64) hexadecimal digits", commit)
	}
	commit = strings.ToLower(commit)
	in := Instance{Name: nameOf(named), Cell: named, Commit: commit}
	c, err := source.OpenCheckout(dir)
	switch {
	case errors.Is(err, source.ErrNoPackage):
		return in, nil
	case err != nil:
		return Instance{}, err
	}
	at, err := fromCheckout(c)
	at.Cell, at.Commit = named, commit
	return at, err
}

func fromCheckout(c *source.Checkout) (Instance, error) {
	p := c.File.Package
	descriptors, err := manifest.Compile(c.Raw, p.Interface, p.ImportRoots)
	in := Instance{
		Name: p.Name, Cell: c.Cell, Commit: c.Commit, Fingerprint: c.Fingerprint, Interface: descriptors,
		Health: c.File.Health, Env: c.File.Run.Env, Dir: c.Dir, Trust: c.File.Trust,
	}
	return in, err
}

// environment returns Env as NAME=VALUE, sorted.
func (in *Instance) environment() []string {
	var list []string
	for name, value := range in.Env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// nameOf makes a name of a repository's last element; one that is no name becomes "cell".
func nameOf(c manifest.Cell) string {
	name := path.Base(c.Repository)
	if manifest.CheckName(name) != nil {
		return "cell"
	}
	return name
}
