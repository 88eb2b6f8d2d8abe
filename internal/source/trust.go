package source

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// trustFile is what a repository's trust document lies in, at the ref refs/cell/trust or the branch cell/trust.
const trustFile = "trust"

// maxTrustFile bounds it, in bytes: base64 of the largest document.
const maxTrustFile = record.MaxTrustSize*4/3 + 64

// Trust is the trust document that the repository of a cell carries now, and the object that its ref is at, "" without
// one; then the document is nil. Only its form has been looked at: an Authority says whether it counts. An error is one of
// Manifest's.
func (s *Source) Trust(ctx context.Context, url string, cell manifest.Cell) (document *record.TrustChain, at string, err error) {
	if err := manifest.FetchURL(url); err != nil {
		return nil, "", err
	}
	if s.offline(url) {
		return nil, "", offline(cell)
	}
	r, err := s.ask(ctx, url, cell.Tag)
	if err != nil || r.trust.object == "" {
		return nil, "", err
	}
	err = s.read(ctx, url, cell.Repository, r.trust.ref, r.trust.object, everything, func(o *objects) error {
		text, err := o.file(trustFile, maxTrustFile)
		if errors.Is(err, fs.ErrNotExist) {
			return &contentFault{errors.New("there is no file " + trustFile)}
		}
		if err != nil {
			return err
		}
		document, err = record.ParseTrust(string(text))
		return fault(err)
	})
	return document, r.trust.object, content(url, r.trust.ref, err)
}

// PushTrust writes the trust document into the repository of a cell, as PushSeeds writes a seed list; at is what Trust
// returned.
func (s *Source) PushTrust(ctx context.Context, url string, cell manifest.Cell, document *record.TrustChain, at string) error {
	return s.push(ctx, url, cell, trustCarrier, map[string][]byte{trustFile: []byte(document.Text() + "\n")}, at)
}
