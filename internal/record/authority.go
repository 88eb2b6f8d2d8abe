package record

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/manifest"
)

// maxOpened bounds the chains that an Authority remembers as verified.
const maxOpened = 4096

// Authority says who may serve a cell: those who hold a grant by one of its publishers. It is immutable but for a memory
// of the grants that it has verified, and may be used by any number of goroutines.
type Authority struct {
	cell       cid.Cid
	publishers []peer.ID

	mu     sync.Mutex
	opened map[string]*Grants // by their bytes
}

// NewAuthority takes the keys of a cell's publishers, as in [trust] keys.
func NewAuthority(cell cid.Cid, keys []string) (*Authority, error) {
	a := &Authority{cell: cell, opened: map[string]*Grants{}}
	for _, text := range keys {
		key, err := manifest.ParseKey(text)
		if err != nil {
			return nil, err
		}
		id, err := PublisherID(key)
		if err != nil {
			return nil, err
		}
		a.publishers = append(a.publishers, id)
	}
	if len(a.publishers) == 0 {
		return nil, fmt.Errorf("record: a cell's authority needs the key of a publisher")
	}
	return a, nil
}

// PublisherID is a publisher's key as the peer ID that signs grants.
func PublisherID(key ed25519.PublicKey) (peer.ID, error) {
	public, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return "", fmt.Errorf("record: %w", err)
	}
	return peer.IDFromPublicKey(public)
}

// Admit returns a *Refusal unless the record's grant lets its signer serve the cell now. The record itself has been
// verified. A nil Authority is that of an open cell and admits all.
func (a *Authority) Admit(s *Signed, now time.Time) error {
	if a == nil {
		return nil
	}
	if len(s.Grant) == 0 {
		return refuse(CodeGrant, "%s has no grant, and the cell names its publishers", s.Peer)
	}
	grants, err := a.open(s.Grant)
	if err != nil {
		return err
	}
	if err := a.Check(grants, s.Peer, s.Commit, now); err != nil {
		return err
	}
	if limit := grants.Chain[0].NotAfter; s.Expires.After(limit) {
		return refuse(CodeExpired, "valid until %s, its grant until %s", s.Expires.UTC().Format(time.RFC3339), limit.UTC().Format(time.RFC3339))
	}
	return nil
}

// Check returns a *Refusal unless the grants let a peer serve the cell with this commit now.
func (a *Authority) Check(g *Grants, id peer.ID, commit string, now time.Time) error {
	own, first := &g.Chain[0], &g.Chain[len(g.Chain)-1]
	switch {
	case !own.Cell.Equals(a.cell):
		return refuse(CodeCell, "the grant is for cell %s, not %s", own.Cell, a.cell)
	case own.Peer != id:
		return refuse(CodePeer, "the grant is for %s, not %s", own.Peer, id)
	case !slices.Contains(own.Capabilities, Serve):
		return refuse(CodeCaps, "the grant does not allow to serve")
	case own.Commit != "" && own.Commit != commit:
		return refuse(CodeCommit, "the grant is for commit %s, not %s", own.Commit, commit)
	case now.Add(Leeway).Before(own.NotBefore):
		return refuse(CodeNotYet, "the grant is valid from %s on", own.NotBefore.UTC().Format(time.RFC3339))
	case now.After(own.NotAfter):
		return refuse(CodeExpired, "the grant ended at %s", own.NotAfter.UTC().Format(time.RFC3339))
	case !slices.Contains(a.publishers, first.Issuer):
		return refuse(CodeIssuer, "the grant is signed by %s, who is no publisher of the cell", first.Issuer)
	}
	return nil
}

// open is OpenGrants with a memory: the same chain comes with every record of an instance.
func (a *Authority) open(data []byte) (*Grants, error) {
	a.mu.Lock()
	known := a.opened[string(data)]
	a.mu.Unlock()
	if known != nil {
		return known, nil
	}
	g, err := OpenGrants(data)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.opened) >= maxOpened {
		clear(a.opened)
	}
	a.opened[string(data)] = g
	return g, nil
}

// Keys writes the keys of publishers as one comparable value, which ParseKeys of the same order reads again; empty for an
// open cell.
func Keys(t []string) string { return strings.Join(slices.Sorted(slices.Values(t)), ",") }
