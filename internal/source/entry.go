package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// entry is what stands at the tag's commit: from a host that speaks cell+json, the cache, or git.
func (s *Source) entry(ctx context.Context, url string, cell manifest.Cell) (commitEntry, error) {
	if e, ok := s.hubEntry(ctx, url, cell); ok {
		s.keep(cell, e)
		return e, nil
	}
	e, err := s.gitEntry(ctx, url, cell)
	if errors.Is(err, errMovedMeanwhile) {
		e, err = s.gitEntry(ctx, url, cell)
	}
	return e, err
}

func (s *Source) gitEntry(ctx context.Context, url string, cell manifest.Cell) (commitEntry, error) {
	r, err := s.resolve(ctx, url, cell)
	if err != nil {
		return commitEntry{}, err
	}
	if e, ok := s.recallCommit(cell, r.commit); ok {
		return e, nil
	}
	var e commitEntry
	err = s.read(ctx, url, cell.Repository, "refs/tags/"+cell.Tag, r.commit, withoutFiles, func(o *objects) error {
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
	if err := o.ahead(func(path string) bool { return path == cellFile || strings.HasSuffix(path, ".proto") }); err != nil {
		return commitEntry{}, err
	}
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
	if strings.HasPrefix(cell.Repository, "file:") {
		if cell, err = file.CellAt(url, cell.Tag); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(data)
	return &Manifest{
		Cell: cell, Commit: e.Commit, File: file, Raw: e.Files,
		Fingerprint: fingerprint, ManifestHash: hex.EncodeToString(sum[:]),
	}, nil
}
