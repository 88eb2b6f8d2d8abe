package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"

	"github.com/cellnode/cellnode/manifest"
)

// GoError says that the Go compiler refused. What it had to say is where Compile wrote it.
type GoError struct{ Code int }

func (e *GoError) Error() string { return fmt.Sprintf("build: go build ended with code %d", e.Code) }

// All is Remote for every //go:generate line of the consumer that runs cellnode remote, and for the cells of Cell.toml
// that none names: those are resolved, decided and pinned, without a package.
func (b *Builder) All(ctx context.Context) ([]*Report, error) {
	requests, err := b.requests()
	if err != nil {
		return nil, err
	}
	for _, name := range b.consumer.names() {
		if !slices.ContainsFunc(requests, func(q Request) bool { return q.Cell == name }) {
			requests = append(requests, Request{Cell: name})
		}
	}
	return b.Remote(ctx, requests)
}

// Vendor writes cellvendor and Cell.lock: all that a build with offline_vendor reads.
func (b *Builder) Vendor(ctx context.Context) ([]*Report, error) {
	lock := &manifest.Lock{Cells: slices.Clone(b.consumer.lock.Cells)}
	var reports []*Report
	var all []*outcome
	for _, name := range b.consumer.names() {
		dep := b.consumer.file.Cells[name]
		if dep.Path != "" {
			return reports, &DevelopmentError{name, "path"}
		}
		dep.Policy.OfflineVendor = false // vendor is what fetches for it
		o, err := b.resolve(ctx, dep, lock)
		if o != nil {
			reports = append(reports, o.report)
		}
		if err != nil {
			return reports, err
		}
		all = append(all, o)
	}
	for _, o := range all {
		if err := b.writeVendor(o.facts); err != nil {
			return reports, err
		}
	}
	return reports, b.write(lock, nil)
}

// Compile runs go build for the packages in the builder's folder; none means those in the folder itself.
func (b *Builder) Compile(ctx context.Context, packages []string, out, errs io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, packages...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.cfg.Dir, out, errs
	cmd.Env = append(os.Environ(), "PWD="+b.cfg.Dir)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &GoError{exit.ExitCode()}
	}
	return fmt.Errorf("build: go build: %w: install Go, or put it on the PATH", err)
}
