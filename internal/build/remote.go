package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/manifest"
)

// Remote resolves the cells of the requests, and writes their packages and Cell.lock. Where one cell cannot be used
// nothing is written; the Reports say how far each has come.
func (b *Builder) Remote(ctx context.Context, requests []Request) ([]*Report, error) {
	lock := &manifest.Lock{Cells: slices.Clone(b.consumer.lock.Cells)}
	var reports []*Report
	var packages []*pkg
	resolved := map[string]*outcome{}
	for _, q := range requests {
		dep, err := b.dependency(q)
		if err != nil {
			return reports, err
		}
		o := resolved[dep.Name]
		if o == nil {
			if o, err = b.resolve(ctx, dep, lock); o != nil {
				reports = append(reports, o.report)
			}
			if err != nil {
				return reports, err
			}
			resolved[dep.Name] = o
		}
		if len(q.Clients) == 0 {
			continue
		}
		p, err := b.generate(q, o.facts, o.locked)
		if err != nil {
			return reports, fmt.Errorf("cell %s: %w", dep.Name, err)
		}
		changed, err := p.changed()
		if err != nil {
			return reports, err
		}
		o.report.Packages = append(o.report.Packages, Package{Path: p.importPath, Changed: changed})
		o.report.Changed = o.report.Changed || changed
		packages = append(packages, p)
	}
	if b.cfg.ReadOnly {
		return reports, nil
	}
	if err := b.write(lock, packages); err != nil {
		return reports, err
	}
	for _, r := range reports {
		for i := range r.Packages {
			r.Packages[i].Written = true
		}
	}
	return reports, nil
}

func (b *Builder) write(lock *manifest.Lock, packages []*pkg) error {
	if len(lock.Cells) > 0 {
		if err := b.writeLock(lock); err != nil {
			return err
		}
	}
	for _, p := range packages {
		if err := p.write(); err != nil {
			return err
		}
	}
	b.consumer.lock = lock
	return nil
}

// outcome is one cell, resolved and decided.
type outcome struct {
	facts  *facts
	locked manifest.LockedCell
	report *Report
}

// resolve goes through the steps for one cell and pins it in lock. With an error there may be an outcome to show.
func (b *Builder) resolve(ctx context.Context, dep manifest.Dependency, lock *manifest.Lock) (*outcome, error) {
	f, err := b.facts(ctx, dep)
	if err != nil {
		return nil, b.explain(ctx, dep, err)
	}
	if err := b.admit(f); err != nil {
		return nil, err
	}
	o := &outcome{facts: f, locked: f.locked()}
	if b.cfg.Frozen {
		return o, b.frozen(o)
	}
	if o.report, err = b.decide(ctx, f); err != nil {
		if o.report == nil {
			return nil, err
		}
		return o, err
	}
	if f.commit == "" { // from a working tree: nothing to pin
		o.locked.Manifest = ""
		return o, nil
	}
	if old, ok := lock.Find(dep.Name); ok && old.Fingerprint != f.fingerprint {
		o.report.compare(b.breaking(ctx, dep, f))
	}
	o.locked.Seeds = b.seeds(f, o.report)
	old, _ := lock.Find(dep.Name)
	if o.locked.Trust, err = b.trust(ctx, dep, o.locked.Trust, old); err != nil {
		return nil, err
	}
	o.locked, o.report.Changed, err = pin(lock, o.locked)
	return o, err
}

// admit refuses a cell without publishers unless the consumer takes such cells.
func (b *Builder) admit(f *facts) error {
	if f.file.Trust != nil || f.dep.Policy.AllowOpen || f.dep.Path != "" {
		return nil
	}
	name := f.dep.Name
	if _, inFile := b.consumer.file.Cells[name]; !inFile {
		name = ""
	}
	return &client.OpenError{Cell: f.dep.Cell, Name: name}
}

// frozen takes what Cell.lock says without asking anybody.
func (b *Builder) frozen(o *outcome) error {
	f := o.facts
	locked, ok := b.consumer.lock.Find(f.dep.Name)
	if !ok {
		return fmt.Errorf("build: cell %s is not in Cell.lock: run cellnode build where there is a network, and commit Cell.lock", f.dep.Name)
	}
	o.locked = locked
	o.report = &Report{
		Name: f.dep.Name, Cell: f.dep.Cell.String(), Commit: locked.Commit, Fingerprint: locked.Fingerprint, Choice: "frozen",
		Reasons: []string{"nobody is asked"}, Instances: []Row{},
	}
	return nil
}

// explain adds to a mismatch what accepting it would break, as far as both interfaces can be read.
func (b *Builder) explain(ctx context.Context, dep manifest.Dependency, err error) error {
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || b.cfg.Frozen || dep.Policy.OfflineVendor {
		return err
	}
	now, readErr := b.source.ManifestFrom(ctx, dep.Cell, urls(dep)...)
	if readErr != nil {
		return err
	}
	mismatch.Breaking, mismatch.Compared = b.breaking(ctx, dep, &facts{file: now.File, raw: now.Raw})
	return mismatch
}

// breaking compares the interface that is locked with another one. It reports false when the old one cannot be read any
// more.
func (b *Builder) breaking(ctx context.Context, dep manifest.Dependency, now *facts) ([]string, bool) {
	locked, ok := b.consumer.lock.Find(dep.Name)
	if !ok {
		return nil, false
	}
	old, err := b.source.ManifestAt(ctx, locked.Git, locked.Cell.Tag, locked.Commit)
	if err != nil {
		b.cfg.Log.Debug("the locked interface cannot be read", "cell", locked.Cell.String(), "err", err)
		return nil, false
	}
	was, err := compile(old.File, old.Raw)
	if err != nil {
		return nil, false
	}
	is, err := compile(now.file, now.raw)
	if err != nil {
		return nil, false
	}
	out := append(manifest.Breaking(was, is), opaqueChanges(old.File, old.Raw, now.raw)...)
	slices.Sort(out)
	return out, true
}

// opaqueChanges lists the interface files that are not protobuf and are not as they were. Nobody here can read them, so
// each may break what exists.
func opaqueChanges(file *manifest.File, was, now map[string][]byte) []string {
	var out []string
	for _, name := range file.Package.Interface {
		data, ok := now[name]
		switch {
		case path.Ext(name) == ".proto":
		case !ok:
			out = append(out, "file "+name+" is gone")
		case !bytes.Equal(data, was[name]):
			out = append(out, "file "+name+" has changed")
		}
	}
	return out
}

func compile(file *manifest.File, raw map[string][]byte) ([]protoreflect.FileDescriptor, error) {
	p := file.Package
	return manifest.Compile(raw, p.Interface, p.ImportRoots)
}
