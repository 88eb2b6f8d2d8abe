package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cellnode/cellnode/manifest"
)

// clone makes the checkout that path and clone = true ask for. It leaves one that is there as it is.
func (b *Builder) clone(ctx context.Context, dep manifest.Dependency, dir string) error {
	_, err := os.Stat(dir)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case b.cfg.ReadOnly:
		return fmt.Errorf("build: cell %s: there is no checkout at %s yet: run cellnode build", dep.Name, dir)
	}
	return b.source.Clone(ctx, dep.Cell, dir, urls(dep)...)
}
