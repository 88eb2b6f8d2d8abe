package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

const (
	// maxCached is how many instances are remembered: enough that one of them lives a month later.
	maxCached = 64
	// cachePause is the time from a change to its being written: there are mostly more of them.
	cachePause = 2 * time.Second
	// cacheYoung is the age up to which a file that says the same is left as it is.
	cacheYoung = time.Hour
)

// cacheFile is where the last-known-good instances of a cell are kept: a seed list, safe to delete.
func (c *Client) cacheFile(r *Resolved) string {
	return c.home.Path("cache", "peers", r.Cell.ID().String()+".json")
}

// cacheWay names the instances that answered an earlier process, under the name of a way. A damaged file is moved aside,
// said once, and does not matter: the other ways find the cell.
func (c *Client) cacheWay(r *Resolved, way string, sink find.Sink) error {
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
		c.log.Warn("damaged cache moved aside", "path", path+".bad", "err", err)
		return nil
	}
	foundSeeds(list.Instances, way, sink)
	return nil
}

// keepCache writes what has answered, a little after each change, and at the end, which for a command is soon. That it
// cannot is said once.
func (c *Client) keepCache(ctx context.Context, s *cell) {
	said := false
	var before []find.Instance // that were live when the file was written
	keep := func() {
		known := s.tracker.Snapshot()
		err := c.writeCache(s, known, before)
		if err == nil && len(known.Instances) > 0 {
			before = known.Instances
		}
		if err != nil && !said {
			c.log.Warn("instances not remembered", "cell", s.Cell.String(), "err", err)
		}
		said = err != nil
	}
	defer keep()
	var known find.Snapshot
	for {
		var err error
		if known, err = s.tracker.Next(ctx, known); err != nil {
			return
		}
		if len(known.Instances) == 0 {
			continue
		}
		if pause(ctx, cachePause) != nil {
			return
		}
		keep()
	}
}

// writeCache replaces the file by the live instances and those others that it named, unless it says the same and is young.
// An empty list never replaces one that may help tomorrow. before are the instances that were live at the last writing.
func (c *Client) writeCache(s *cell, known find.Snapshot, before []find.Instance) error {
	list := manifest.SeedList{Cell: s.Cell.ID(), Updated: time.Now().UTC().Truncate(time.Second)}
	for _, i := range known.Instances {
		if len(i.Addrs) > 0 && !i.Self && len(list.Instances) < maxCached {
			list.Instances = append(list.Instances, manifest.Seed{Peer: i.Peer, Addrs: i.Addrs[:min(len(i.Addrs), manifest.MaxSeedAddrs)]})
		}
	}
	path := c.cacheFile(s.Resolved)
	if len(list.Instances) == 0 {
		return nil
	}
	was, old := oldCache(path)
	others := unheard(old.Instances, known, before)
	list.Instances = append(list.Instances, others[:min(len(others), maxCached-len(list.Instances))]...)
	if saysTheSame(was, old, list) {
		return nil
	}
	data, err := list.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return manifest.WriteFile(path, data, 0o600)
}

// oldCache returns the file as it is; one that is missing or damaged is empty.
func oldCache(path string) (data []byte, list manifest.SeedList) {
	data, err := readFile(path, manifest.MaxSeedListSize)
	if err != nil {
		return nil, list
	}
	old, err := manifest.ParseSeedList(path, data)
	if err != nil {
		return nil, list
	}
	return data, *old
}

// unheard returns those of old of whom nothing is known here: a client that ends after one call has not asked them all. One
// that is refused is left out, and so is one that was live before and is not now, for it said goodbye.
func unheard(old []manifest.Seed, known find.Snapshot, before []find.Instance) []manifest.Seed {
	heard := map[peer.ID]bool{}
	for _, i := range slices.Concat(known.Instances, before) {
		heard[i.Peer] = true
	}
	for _, r := range known.Refused {
		heard[r.Peer] = true
	}
	return slices.DeleteFunc(slices.Clone(old), func(s manifest.Seed) bool { return heard[s.Peer] })
}

// saysTheSame reports whether the old file was written not long ago with these very instances.
func saysTheSame(was []byte, old, list manifest.SeedList) bool {
	if list.Updated.Sub(old.Updated).Abs() > cacheYoung {
		return false
	}
	list.Updated = old.Updated
	data, err := list.Marshal()
	return err == nil && bytes.Equal(data, was)
}
