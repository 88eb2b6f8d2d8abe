package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/cellnode/cellnode/manifest"
)

// cellFile is the name of the file that makes a repository a cell.
const cellFile = "Cell.toml"

// Manifest is what a cell publishes at a tag. It is not to be changed.
type Manifest struct {
	Cell         manifest.Cell // for a repository on disk as its own [package] repository names it
	Commit       string        // that the tag is at, peeled; 40 or 64 hex digits
	File         *manifest.File
	Raw          map[string][]byte // Cell.toml, the interface files and what these import, by path
	Fingerprint  string            // of the interface; "" when none is declared
	ManifestHash string            // SHA-256 of Cell.toml, hex; Cell.lock's manifest
	Stale        bool              // the host was not reached: this is what it said last
}

// Resolve is the commit that a tag is at, asked of its host now. An error is an *UnreachableError, a *NoTagError, a
// *LimitError or ErrOffline.
func (s *Source) Resolve(ctx context.Context, url, tag string) (commit string, err error) {
	cell, err := check(url, tag)
	if err != nil {
		return "", err
	}
	if s.offline(url) {
		return "", offline(cell)
	}
	r, err := s.resolve(ctx, url, cell)
	return r.commit, err
}

// check refuses hostile addresses and tags before anything is run or dialled.
func check(url, tag string) (manifest.Cell, error) {
	if err := manifest.FetchURL(url); err != nil {
		return manifest.Cell{}, err
	}
	return manifest.NewCell(url, tag)
}

func (s *Source) offline(url string) bool { return s.cfg.Offline && !isDisk(url) }

func offline(cell manifest.Cell) error { return fmt.Errorf("%w: %s", ErrOffline, cell) }

func (s *Source) resolve(ctx context.Context, url string, cell manifest.Cell) (refs, error) {
	r, err := s.ask(ctx, url, cell.Tag)
	if err == nil && r.commit == "" {
		err = s.noTag(ctx, url, cell.Tag)
	}
	return r, err
}

// Manifest reads what a cell publishes at a tag. The tag is asked for each time; what is at its commit is read once and
// then kept. When the host cannot be reached the newest known answer is given, with Stale set. An error is one of
// Resolve's, or a *ContentError that says what is wrong in the repository.
func (s *Source) Manifest(ctx context.Context, url, tag string) (*Manifest, error) {
	cell, err := check(url, tag)
	if err != nil {
		return nil, err
	}
	return s.ManifestFrom(ctx, cell, url)
}

// ManifestFrom is Manifest of a cell whose repository has mirrors: the first of the URLs that answers counts.
func (s *Source) ManifestFrom(ctx context.Context, cell manifest.Cell, urls ...string) (*Manifest, error) {
	var m *Manifest
	err := s.each(ctx, cell, urls, func(url string) error {
		e, err := s.entry(ctx, url, cell)
		if err == nil {
			m, err = assemble(e, url, cell)
		}
		return err
	})
	if err == nil {
		s.remember(s.tagPath(cell), tagEntry{Cell: cell.String(), Commit: m.Commit, At: s.now()})
		return m, nil
	}
	if isPassing(err) && ctx.Err() == nil {
		return s.lastManifest(cell, urls[0], err)
	}
	return nil, err
}

// each calls read with one URL after the other until one succeeds. All are checked before the first is used.
func (s *Source) each(ctx context.Context, cell manifest.Cell, urls []string, read func(url string) error) error {
	if len(urls) == 0 {
		return fmt.Errorf("source: no address to read %s from", cell)
	}
	for _, url := range urls {
		if err := manifest.FetchURL(url); err != nil {
			return err
		}
	}
	var faults []error
	for _, url := range urls {
		err := offline(cell)
		if !s.offline(url) {
			err = read(url)
		}
		if err == nil || ctx.Err() != nil || len(urls) == 1 {
			return err
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// ManifestAt is Manifest for a commit that is known, as from Cell.lock. Once it is in the cache no host is asked. A tag
// that is elsewhere is a *MovedError.
func (s *Source) ManifestAt(ctx context.Context, url, tag, commit string) (*Manifest, error) {
	cell, err := check(url, tag)
	if err != nil {
		return nil, err
	}
	if !isObject(commit) {
		return nil, fmt.Errorf("source: %q is not a commit", commit)
	}
	if e, ok := s.recallCommit(cell, commit); ok {
		return assemble(e, url, cell)
	}
	m, err := s.Manifest(ctx, url, tag)
	if err != nil {
		return nil, err
	}
	return m, CheckCommit(cell, commit, m.Commit)
}

// isPassing reports failures that may be gone tomorrow, and for which an older answer is better than none.
func isPassing(err error) bool {
	var host *UnreachableError
	var limit *LimitError
	return errors.As(err, &host) || errors.As(err, &limit) || errors.Is(err, ErrOffline)
}

// lastManifest is what the host said when it was last reached, or the error for not reaching it now.
func (s *Source) lastManifest(cell manifest.Cell, url string, cause error) (*Manifest, error) {
	tag, known := s.recallTag(cell)
	e, whole := s.recallCommit(cell, tag.Commit)
	if !known || !whole {
		return nil, cause
	}
	m, err := assemble(e, url, cell)
	if err != nil {
		return nil, err
	}
	m.Stale = true
	s.cfg.Log.Warn("using the last known manifest", "cell", cell.String(), "commit", e.Commit, "read", tag.At, "err", cause)
	return m, nil
}
