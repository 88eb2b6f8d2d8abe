package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cellnode/cellnode/codegen"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// StaleError says that generated code or Cell.lock is not what the build step would write now.
type StaleError struct{ Name, What string }

func (e *StaleError) Error() string {
	return fmt.Sprintf("build: cell %s: %s is stale: run cellnode build, and commit what it writes", e.Name, e.What)
}

// Check finds out whether All would change anything, and writes nothing. A tag that has moved is an error, as is an
// interface that differs from Cell.lock's.
func (b *Builder) Check(ctx context.Context) ([]*Report, error) {
	b.cfg.ReadOnly = true
	if b.cfg.Frozen {
		return b.checkFrozen(ctx)
	}
	for _, name := range b.consumer.names() {
		if err := b.checkTag(ctx, b.consumer.file.Cells[name]); err != nil {
			return nil, err
		}
	}
	reports, err := b.All(ctx)
	if err != nil {
		return reports, err
	}
	for _, r := range reports {
		if r.Changed {
			return reports, &StaleError{r.Name, r.stale()}
		}
	}
	return reports, nil
}

// stale names what would be written.
func (r *Report) stale() string {
	var changed []string
	for _, p := range r.Packages {
		if p.Changed {
			changed = append(changed, p.Path)
		}
	}
	if len(changed) == 0 {
		return "Cell.lock"
	}
	return "Cell.lock or package " + strings.Join(changed, ", ")
}

// checkTag asks where a locked tag is now: the first place that answers.
func (b *Builder) checkTag(ctx context.Context, dep manifest.Dependency) error {
	locked, ok := b.consumer.lock.Find(dep.Name)
	if !ok || locked.Cell != dep.Cell || dep.Path != "" || dep.Policy.OfflineVendor {
		return nil
	}
	var errs []error
	for _, url := range urls(dep) {
		now, err := b.source.Resolve(ctx, url, dep.Tag)
		if err == nil {
			return source.CheckCommit(dep.Cell, locked.Commit, now)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var pinned = regexp.MustCompile(`\nconst (?:Cell)*Fingerprint = "([0-9a-f]*)"\n`)

// checkFrozen holds Cell.toml, Cell.lock and the generated packages to each other. Nothing else is read but what the
// cache or cellvendor has, and no socket is opened.
func (b *Builder) checkFrozen(context.Context) ([]*Report, error) {
	var reports []*Report
	for _, name := range b.consumer.names() {
		dep := b.consumer.file.Cells[name]
		if dep.Path != "" || dep.Clone {
			return reports, &DevelopmentError{name, "path or clone"}
		}
		locked, ok := b.consumer.lock.Find(name)
		if !ok {
			return reports, &StaleError{name, "Cell.lock, which does not know the cell,"}
		}
		if locked.Cell != dep.Cell {
			return reports, &MismatchError{Name: name, What: "repository and tag in Cell.toml", Locked: locked.Cell.String(), Now: dep.Cell.String()}
		}
		if dep.Policy.OfflineVendor {
			if _, err := b.fromVendor(dep, locked, true); err != nil {
				return reports, err
			}
		}
		reports = append(reports, &Report{
			Name: name, Cell: dep.Cell.String(), Commit: locked.Commit, Fingerprint: locked.Fingerprint, Choice: "frozen",
			Reasons: []string{"nobody was asked"}, Instances: []Row{},
		})
	}
	return reports, b.eachPackage(func(dir string, lockFile []byte, info codegen.LockInfo) error {
		locked, ok := b.consumer.lock.Find(info.Cell)
		if !ok {
			return nil // named by its repository, or from a working tree
		}
		rel, err := filepath.Rel(b.consumer.dir, dir)
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		data, err := readFile(filepath.Join(dir, "cell.go"), manifest.MaxPublishedSize)
		if err != nil {
			return err
		}
		m := pinned.FindSubmatch(data)
		if m == nil || string(m[1]) != locked.Fingerprint || !bytes.Equal(lockFile, codegen.LockFile(info.Package, locked)) {
			return &StaleError{info.Cell, "package " + rel}
		}
		if locked.Commit != "" && !bytes.Contains(data, []byte(`"`+locked.Commit+`"`)) {
			return &StaleError{info.Cell, "package " + rel}
		}
		return nil
	})
}
