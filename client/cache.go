package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

const (
	// maxCached is how many instances are remembered: enough that one of them lives a month later.
	maxCached = 64
	// cachePause is the least time between two writes of one file.
	cachePause = 5 * time.Second
)

// cacheFile is where the last-known-good instances of a cell are kept: a seed list, safe to delete.
func (c *Client) cacheFile(r *Resolved) string {
	return c.home.Path("cache", "peers", r.Cell.ID().String()+".json")
}

// cacheWay names the instances that answered an earlier process. A damaged file is moved aside, said once, and does
// not matter: the other ways find the cell.
func (c *Client) cacheWay(r *Resolved, sink find.Sink) error {
	path := c.cacheFile(r)
	data, err := readFile(path, manifest.MaxSeedListSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := manifest.ParseSeedList(path, data)
	if err != nil {
		if moved := os.Rename(path, path+".bad"); moved != nil {
			return errors.Join(err, moved)
		}
		c.log.Warn("damaged cache moved aside", "path", path, "err", err)
		return err
	}
	foundSeeds(list.Instances, find.Cache, sink)
	return nil
}

// keepCache writes what has answered, when it has changed and not too often.
func (c *Client) keepCache(ctx context.Context, s *cell) {
	var known find.Snapshot
	for {
		var err error
		if known, err = s.tracker.Next(ctx, known); err != nil {
			return
		}
		if err := c.writeCache(s, known.Instances); err != nil {
			c.log.Warn("instances not remembered", "cell", s.Cell.String(), "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(cachePause):
		}
	}
}

// writeCache replaces the file by the live instances. An empty list never replaces one that may help tomorrow.
func (c *Client) writeCache(s *cell, live []find.Instance) error {
	list := manifest.SeedList{Cell: s.Cell.ID(), Updated: time.Now().UTC().Truncate(time.Second)}
	for _, i := range live {
		if len(i.Addrs) > 0 && !i.Self && len(list.Instances) < maxCached {
			list.Instances = append(list.Instances, manifest.Seed{Peer: i.Peer, Addrs: i.Addrs[:min(len(i.Addrs), manifest.MaxSeedAddrs)]})
		}
	}
	if len(list.Instances) == 0 {
		return nil
	}
	data, err := list.Marshal()
	if err != nil {
		return err
	}
	path := c.cacheFile(s.Resolved)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return manifest.WriteFile(path, data, 0o600)
}
