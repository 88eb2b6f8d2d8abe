package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
)

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// openHome opens the home directory if it can be had. A client needs none: without it there is no cache, no local
// service and no daemon.
func openHome(path string) (*home.Dir, error) {
	if path != "" {
		return home.At(path)
	}
	return home.OpenIfAny()
}

// openSource opens the reader of repositories. Its cache lies in the home directory, or where there is none, or none
// that can be written as in a container, in a directory of this Client's own.
func (c *Client) openSource() (err error) {
	if c.home != nil {
		c.source, err = source.New(source.Config{CacheDir: c.home.Path("cache", "git"), Log: c.log})
		if err == nil {
			return nil
		}
		c.log.Warn("no cache of repositories in the home directory", "err", err)
	}
	if c.spare, err = os.MkdirTemp("", "cell-git-"); err != nil {
		return fmt.Errorf("client: there is no home directory, and nowhere to put its cache: %w", err)
	}
	if c.source, err = source.New(source.Config{CacheDir: c.spare, Log: c.log}); err != nil {
		return errors.Join(err, c.removeSpare())
	}
	return nil
}

func (c *Client) removeSpare() error {
	if c.spare == "" {
		return nil
	}
	return os.RemoveAll(c.spare)
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
