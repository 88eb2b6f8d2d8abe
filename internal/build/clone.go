package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cellnode/cellnode/manifest"
)

// clone leaves a checkout that is there as it is.
func (b *Builder) clone(dep manifest.Dependency, dir string) error {
	_, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("build: cell %s: there is no checkout at %s: run git clone --branch %s %s %s", dep.Name, dir, dep.Tag, dep.Git, dir)
	}
	return err
}
