package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/cellnode/cellnode/manifest"
)

// seedFiles are the names of a seed list, best first.
var seedFiles = []string{"instances.json", "Cells.json"}

// Seeds is the seed list of a cell. It is read from a host that speaks cell+json, else from the ref refs/cell/seeds, else
// from the branch cell/seeds, else from the file at the tag; a ref may hold lists of several tags as TAG/instances.json.
// A repository without any has an empty list. Within Config.SeedTTL the last answer is given again, and whenever the host
// cannot be reached. An error is one of Manifest's.
func (s *Source) Seeds(ctx context.Context, url, tag string) (*manifest.SeedList, error) {
	cell, err := check(url, tag)
	if err != nil {
		return nil, err
	}
	return s.SeedsFrom(ctx, cell, url)
}

// SeedsFrom is Seeds of a cell whose repository has mirrors: the first of the URLs that answers counts.
func (s *Source) SeedsFrom(ctx context.Context, cell manifest.Cell, urls ...string) (*manifest.SeedList, error) {
	last, list, known := s.recallSeeds(cell)
	if age := s.now().Sub(last.At); known && age >= 0 && age < s.cfg.SeedTTL {
		return list, nil
	}
	var fresh *manifest.SeedList
	var from string
	err := s.each(ctx, cell, urls, func(url string) (err error) {
		fresh, from, err = s.freshSeeds(ctx, url, cell, last, list)
		return err
	})
	if known && err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("using the last known seed list", "cell", cell.String(), "read", last.At, "err", err)
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	s.keepSeeds(cell, fresh, from)
	return fresh, nil
}

func (s *Source) keepSeeds(cell manifest.Cell, list *manifest.SeedList, from string) {
	data, err := list.Marshal()
	if err != nil {
		s.cfg.Log.Warn("the seed list cannot be kept", "cell", cell.String(), "err", err)
		return
	}
	s.remember(s.seedPath(cell), seedEntry{Cell: cell.String(), At: s.now(), From: from, List: data})
}

// freshSeeds asks the host. list is what was last read from the object last.From; it still holds if that has not changed.
func (s *Source) freshSeeds(ctx context.Context, url string, cell manifest.Cell, last seedEntry, list *manifest.SeedList) (
	fresh *manifest.SeedList, from string, err error,
) {
	if fresh := s.hubSeeds(ctx, url, cell); fresh != nil {
		return fresh, "", nil
	}
	r, err := s.resolve(ctx, url, cell)
	if err != nil {
		return nil, "", err
	}
	from = r.seeds.object + " " + r.commit
	if list != nil && last.From == from {
		return list, from, nil
	}
	fresh, err = s.gitSeeds(ctx, url, cell, r)
	return fresh, from, err
}

func (s *Source) hubSeeds(ctx context.Context, url string, cell manifest.Cell) *manifest.SeedList {
	data, ok := s.hubGet(ctx, url, "instances.json", cell.Tag, manifest.MaxSeedListSize)
	if !ok {
		return nil
	}
	list, err := parseSeeds("instances.json", data, []cid.Cid{cell.ID()})
	if err != nil {
		s.cfg.Log.Warn("asking git instead: the host's instances.json is of no use", "url", shown(url), "err", err)
		return nil
	}
	return list
}

// gitSeeds looks at the ref, then at the tag. A list that is broken, or for another cell, does not hide a good one.
func (s *Source) gitSeeds(ctx context.Context, url string, cell manifest.Cell, r refs) (*manifest.SeedList, error) {
	ids := s.identities(ctx, url, cell)
	var faults []error
	if r.seeds.object != "" {
		names := append([]string{cell.Tag + "/" + seedFiles[0]}, seedFiles...)
		list, err := s.seedsAt(ctx, url, cell, place{r.seeds.ref, r.seeds.object, everything, names}, ids)
		if list != nil || err != nil && !isContent(err) {
			return list, err
		}
		faults = append(faults, err)
	}
	list, err := s.seedsAt(ctx, url, cell, place{"refs/tags/" + cell.Tag, r.commit, withoutFiles, seedFiles}, ids)
	if list != nil || err != nil && !isContent(err) {
		return list, err
	}
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return &manifest.SeedList{Cell: ids[0], Instances: []manifest.Seed{}}, nil
}

// identities are the keys that a list may be for: the cell as its repository names it, and as it was asked for.
func (s *Source) identities(ctx context.Context, url string, cell manifest.Cell) []cid.Cid {
	ids := []cid.Cid{cell.ID()}
	if !strings.HasPrefix(cell.Repository, "file:") {
		return ids
	}
	if m, err := s.Manifest(ctx, url, cell.Tag); err == nil && m.Cell != cell {
		return []cid.Cid{m.Cell.ID(), cell.ID()}
	}
	return ids
}

func isContent(err error) bool {
	var ce *ContentError
	return errors.As(err, &ce)
}

// place is where a seed list may lie: in files of these names, best first, at a ref.
type place struct {
	ref, object string
	filter      filter
	names       []string
}

// seedsAt reads the first file that is there; nil when none is.
func (s *Source) seedsAt(ctx context.Context, url string, cell manifest.Cell, at place, ids []cid.Cid) (*manifest.SeedList, error) {
	var list *manifest.SeedList
	err := s.read(ctx, url, cell.Repository, at.ref, at.object, at.filter, func(o *objects) error {
		for _, name := range at.names {
			data, err := o.file(name, manifest.MaxSeedListSize)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				list, err = parseSeeds(name, data, ids)
				err = fault(err)
			}
			return err
		}
		return nil
	})
	return list, content(url, at.ref, err)
}

// parseSeeds refuses a list for another cell. A list that does not say is taken for the one it was found at.
func parseSeeds(name string, data []byte, ids []cid.Cid) (*manifest.SeedList, error) {
	list, err := manifest.ParseSeedList(name, data)
	if err != nil {
		return nil, err
	}
	if !list.Cell.Defined() {
		list.Cell = ids[0]
	}
	for _, id := range ids {
		if list.Cell == id {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s is for the cell %s, not %s: write it anew with cellnode seeds push", name, list.Cell, ids[0])
}
