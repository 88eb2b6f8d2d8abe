package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cellnode/cellnode/manifest"
)

// Clone makes a checkout of a cell's repository at its tag, in a folder that is not there yet: for a person who means to work
// on it. The first of the URLs that answers counts. The folder is there when it is whole, or not at all. An error is one of
// Resolve's.
func (s *Source) Clone(ctx context.Context, cell manifest.Cell, dir string, urls ...string) error {
	return s.each(ctx, cell, urls, func(url string) error {
		if _, err := s.resolve(ctx, url, cell); err != nil {
			return err
		}
		return s.clone(ctx, url, cell.Tag, dir)
	})
}

func (s *Source) clone(ctx context.Context, url, tag, dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	fresh, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+"-")
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	_, err = s.git(ctx, url, "", "-c", "core.symlinks=true", "clone", "--quiet", "--no-recurse-submodules", "--branch", tag, "--", url, fresh)
	if err == nil {
		err = os.Chmod(fresh, 0o755)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return errors.Join(unreachable(url, err), os.RemoveAll(fresh))
	}
	return nil
}
