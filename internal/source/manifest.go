package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

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
	if s.offline(url) {
		return s.lastManifest(cell, url, offline(cell))
	}
	e, err := s.entry(ctx, url, cell)
	if isPassing(err) && ctx.Err() == nil {
		return s.lastManifest(cell, url, err)
	}
	if err != nil {
		return nil, err
	}
	m, err := assemble(e, url, cell)
	if err != nil {
		return nil, err
	}
	s.remember(s.tagPath(cell), tagEntry{Cell: cell.String(), Commit: e.Commit, At: s.now()})
	return m, nil
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
	return errors.As(err, &host) || errors.As(err, &limit)
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

// entry is what stands at the tag's commit: from a host that speaks cell+json, the cache, or git.
func (s *Source) entry(ctx context.Context, url string, cell manifest.Cell) (commitEntry, error) {
	if e, ok := s.hubEntry(ctx, url, cell); ok {
		s.keep(cell, e)
		return e, nil
	}
	r, err := s.resolve(ctx, url, cell)
	if err != nil {
		return commitEntry{}, err
	}
	if e, ok := s.recallCommit(cell, r.commit); ok {
		return e, nil
	}
	var e commitEntry
	err = s.read(ctx, url, cell.Repository, "refs/tags/"+cell.Tag, r.commit, func(o *objects) error {
		e, err = readEntry(o)
		return err
	})
	if err != nil {
		return commitEntry{}, content(url, cell.Tag, err)
	}
	s.keep(cell, e)
	return e, nil
}

func (s *Source) keep(cell manifest.Cell, e commitEntry) {
	e.Sum = e.sum()
	s.remember(s.commitPath(cell, e.Commit), e)
}

// content puts a fault of the repository's content into words.
func content(url, at string, err error) error {
	var f *contentFault
	if errors.As(err, &f) {
		return &ContentError{URL: shown(url), At: at, Err: f.err}
	}
	return err
}

// readEntry takes from a commit what a manifest needs, and checks that it is one.
func readEntry(o *objects) (commitEntry, error) {
	data, err := o.file(cellFile, manifest.MaxFileSize)
	if errors.Is(err, fs.ErrNotExist) {
		return commitEntry{}, &contentFault{errors.New("there is no Cell.toml, so this is not a cell")}
	}
	if err != nil {
		return commitEntry{}, err
	}
	file, err := parsePackage(data)
	if err != nil {
		return commitEntry{}, &contentFault{err}
	}
	files, err := manifest.InterfaceFiles(file.Package.Interface, file.Package.ImportRoots, func(path string) ([]byte, error) {
		return o.file(path, manifest.MaxInterfaceSize)
	})
	if err != nil {
		return commitEntry{}, fault(err)
	}
	files[cellFile] = data
	return commitEntry{Commit: o.commit, Files: files}, nil
}

func parsePackage(data []byte) (*manifest.File, error) {
	file, err := manifest.ParseFile(cellFile, data)
	if err != nil {
		return nil, err
	}
	if file.Package == nil {
		return nil, errors.New("its Cell.toml has no [package], so this is not a cell but a consumer of some")
	}
	return file, nil
}

// assemble derives from the files all that can be derived; nothing of that is taken from anyone.
func assemble(e commitEntry, url string, cell manifest.Cell) (*Manifest, error) {
	data := e.Files[cellFile]
	file, err := parsePackage(data)
	if err != nil {
		return nil, &ContentError{URL: shown(url), At: cell.Tag, Err: err}
	}
	fingerprint, err := manifest.Fingerprint(e.Files, file.Package.Interface, file.Package.ImportRoots)
	if err != nil {
		return nil, &ContentError{URL: shown(url), At: cell.Tag, Err: err}
	}
	if cell, err = file.CellAt(url, cell.Tag); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return &Manifest{
		Cell: cell, Commit: e.Commit, File: file, Raw: e.Files,
		Fingerprint: fingerprint, ManifestHash: hex.EncodeToString(sum[:]),
	}, nil
}
