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
	Offer       []byte                        // the whole interface for clients of another one, see overlay.Service; nil: none, or too large
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
	in, err := declared(c.File, c.Raw, c.Fingerprint)
	in.Cell, in.Commit, in.Dir = c.Cell, c.Commit, c.Dir
	return in, err
}

// FromManifest is an instance of a cell that runs what its repository has at a commit, here in a sandbox: its health is looked
// at from outside, so a command that would say it counts as none.
func FromManifest(cell manifest.Cell, m *source.Manifest) (Instance, error) {
	in, err := declared(m.File, m.Raw, m.Fingerprint)
	in.Cell, in.Commit = cell, m.Commit
	if in.Health.Kind == "exec" {
		in.Health = manifest.Health{}
	}
	return in, err
}

// declared is what a Cell.toml and the interface that it names say, whose files raw has.
func declared(file *manifest.File, raw map[string][]byte, fingerprint string) (Instance, error) {
	p := file.Package
	set, err := manifest.CompileSet(raw, p.Interface, p.ImportRoots)
	if err != nil {
		return Instance{}, err
	}
	in := Instance{Name: p.Name, Fingerprint: fingerprint, Interface: set.Files, Health: file.Health, Env: file.Run.Env, Trust: file.Trust}
	if offer, err := set.Marshal(); err == nil && fingerprint != "" {
		in.Offer = offer
	}
	return in, nil
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
