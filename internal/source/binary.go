package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/cellnode/cellnode/manifest"
)

// What a publisher offers for one commit and one system lies in a commit without parents of its own, so that whoever
// needs it fetches no other: the signed manifest, and the binary.
const (
	signedFile = "manifest"
	binaryFile = "binary"
)

// Limits of what one offers, in bytes. Hosts of repositories take no larger files.
const (
	maxSignedFile = 16 << 10
	MaxBinary     = 100 << 20
)

// Offer is a binary of a publisher's making. Nothing in it has been verified.
type Offer struct {
	Signed []byte // a record of kind cell/bin/v1, see record.Authority.Binaries
	Binary []byte
}

var isSystem = regexp.MustCompile(`^[a-z0-9]{1,32}/[a-z0-9]{1,32}$`).MatchString

// binaryCarrier is where the binary of a commit for a system lies: refs/cell/bin/COMMIT/OS-ARCH, or such a branch.
func binaryCarrier(commit, system string) (*carrier, error) {
	if !isObject(commit) || !isSystem(system) {
		return nil, fmt.Errorf("source: there is no binary of commit %q for %q: a system is written as linux/amd64", commit, system)
	}
	var name []byte
	for _, c := range []byte(system) {
		if c == '/' {
			c = '-'
		}
		name = append(name, c)
	}
	path := "cell/bin/" + commit + "/" + string(name)
	return &carrier{"the binary", []string{"refs/" + path, "refs/heads/" + path}, "cell: binary for " + system + "\n"}, nil
}

// Binary is what the repository of a cell offers for a commit and a system ("linux/amd64"), and the object that its ref is
// at, "" without one; then the Offer is nil. An error is one of Manifest's.
func (s *Source) Binary(ctx context.Context, url string, cell manifest.Cell, commit, system string) (offer *Offer, at string, err error) {
	if err := manifest.FetchURL(url); err != nil {
		return nil, "", err
	}
	c, err := binaryCarrier(commit, system)
	if err != nil {
		return nil, "", err
	}
	if s.offline(url) {
		return nil, "", offline(cell)
	}
	r, err := s.askFor(ctx, url, cell.Tag, c)
	if err != nil || r.more.object == "" {
		return nil, "", err
	}
	offer = &Offer{}
	err = s.read(ctx, url, cell.Repository, r.more.ref, r.more.object, everything, func(o *objects) (err error) {
		if offer.Signed, err = o.file(signedFile, maxSignedFile); err == nil {
			offer.Binary, err = o.file(binaryFile, MaxBinary)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &contentFault{errors.New("there is no " + signedFile + " and " + binaryFile + " in it")}
		}
		return err
	})
	if err != nil {
		offer = nil
	}
	return offer, r.more.object, content(url, r.more.ref, err)
}

// PushBinary writes an Offer into the repository of a cell, as PushSeeds writes a seed list; at is what Binary returned.
func (s *Source) PushBinary(ctx context.Context, url string, cell manifest.Cell, commit, system string, offer Offer, at string) error {
	c, err := binaryCarrier(commit, system)
	if err != nil {
		return err
	}
	if len(offer.Binary) > MaxBinary {
		return fmt.Errorf("source: the binary has %d bytes; a repository takes at most %d", len(offer.Binary), MaxBinary)
	}
	return s.push(ctx, url, cell, c, map[string][]byte{signedFile: offer.Signed, binaryFile: offer.Binary}, at)
}
