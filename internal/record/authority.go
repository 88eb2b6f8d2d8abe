package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/manifest"
)

// maxOpened bounds the chains of grants that an Authority remembers as verified.
const maxOpened = 4096

// Authority says who may serve a cell: those who hold a grant by one of its publishers. Who they are begins with Cell.toml
// and changes with each newer trust document that it takes. It may be used by any number of goroutines. A nil Authority is
// that of an open cell: it admits all and takes no document.
type Authority struct {
	cell  cid.Cid
	first Trust

	now atomic.Pointer[standing]

	mu       sync.Mutex
	opened   map[string]*Grants // by their bytes
	watchers map[*func()]bool
}

// standing is what holds at one moment; it is immutable.
type standing struct {
	Trust
	last    *signedTrust // nil at version 0
	chain   []byte
	issuers map[peer.ID]bool
	peers   map[peer.ID]bool // revoked
	serials map[uint64]bool  // revoked
}

// NewAuthority begins with a cell's [trust].
func NewAuthority(cell manifest.Cell, t manifest.Trust) (*Authority, error) {
	if len(t.Keys) == 0 {
		return nil, fmt.Errorf("record: a cell's authority needs the key of a publisher")
	}
	a := &Authority{
		cell: cell.ID(), first: FirstTrust(cell.Repository, t), opened: map[string]*Grants{}, watchers: map[*func()]bool{},
	}
	s, err := newStanding(a.first, nil, nil)
	if err != nil {
		return nil, err
	}
	a.now.Store(s)
	return a, nil
}

func newStanding(t Trust, last *signedTrust, chain []byte) (*standing, error) {
	s := &standing{Trust: t, last: last, chain: chain, issuers: map[peer.ID]bool{}, peers: map[peer.ID]bool{}, serials: map[uint64]bool{}}
	for _, text := range t.May(SignGrants) {
		key, err := manifest.ParseKey(text)
		if err != nil {
			return nil, err
		}
		id, err := PublisherID(key)
		if err != nil {
			return nil, err
		}
		s.issuers[id] = true
	}
	for _, id := range t.RevokedPeers {
		s.peers[id] = true
	}
	for _, serial := range t.RevokedSerials {
		s.serials[serial] = true
	}
	return s, nil
}

// PublisherID is a publisher's key as the peer ID that signs grants.
func PublisherID(key ed25519.PublicKey) (peer.ID, error) {
	public, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return "", fmt.Errorf("record: %w", err)
	}
	return peer.IDFromPublicKey(public)
}

// ID names what the Authority begins with, for whoever keeps its newest document: two of the same repository and [trust]
// have the same. It is 64 hex digits.
func (a *Authority) ID() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%d", a.first.Repository, a.first.Threshold)
	for _, key := range slices.Sorted(slices.Values(a.first.May(SignTrust))) {
		fmt.Fprintf(sum, "\x00%s", key)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Trust is what holds now. Its slices are not to be changed.
func (a *Authority) Trust() Trust { return a.now.Load().Trust }

// First is the version 0 that the Authority began with.
func (a *Authority) First() Trust { return a.first }

// Version is that of the newest trust document taken; 0 where there is none.
func (a *Authority) Version() uint64 {
	if a == nil {
		return 0
	}
	return a.now.Load().Version
}

// Chain is the newest trust document taken, as it travels; nil where there is none. It is not to be changed.
func (a *Authority) Chain() []byte {
	if a == nil {
		return nil
	}
	return a.now.Load().chain
}

// Take takes a trust document that is newer than what holds, and reports whether it was. The one that holds is no error.
// Anything else is a *Refusal: E_REPLAY where it is older or leaves the way that was taken. Those who wait by OnChange have
// been told when Take returns.
func (a *Authority) Take(data []byte, now time.Time) (newer bool, err error) {
	if a == nil {
		return false, refuse(CodeTrust, "the cell is open: it has no publishers who could sign one")
	}
	if len(data) > 0 && bytes.Equal(data, a.Chain()) {
		return false, nil
	}
	chain, err := OpenTrust(data)
	if err != nil {
		return false, err
	}
	if err := chain.Verify(a.first); err != nil {
		return false, err
	}
	last := &chain.versions[len(chain.versions)-1]
	if last.Issued.After(now.Add(Leeway)) {
		return false, refuse(CodeFuture, "version %d of the trust document is of %s; is a clock wrong?", last.Version, last.Issued.UTC().Format(time.RFC3339))
	}
	s, err := newStanding(last.Trust, last, bytes.Clone(data))
	if err != nil {
		return false, err
	}
	if newer, err = a.replace(chain, s); newer {
		a.tell()
	}
	return newer, err
}

func (a *Authority) replace(chain *TrustChain, s *standing) (newer bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.now.Load().last; at != nil {
		if err := chain.continues(at); err != nil {
			return false, err
		}
		if s.Version == at.Version {
			return false, nil
		}
	}
	a.now.Store(s)
	return true, nil
}

// OnChange has f called after each document that was taken, by the goroutine that gave it, until stop. f must not wait.
func (a *Authority) OnChange(f func()) (stop func()) {
	if a == nil {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watchers[&f] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, &f)
	}
}

func (a *Authority) tell() {
	a.mu.Lock()
	list := make([]func(), 0, len(a.watchers))
	for f := range a.watchers {
		list = append(list, *f)
	}
	a.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// Admit returns a *Refusal unless the record's grant lets its signer serve the cell now. The record itself has been
// verified.
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
	trust := a.now.Load()
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
	case trust.last != nil && now.After(trust.Expires):
		return refuse(CodeTrust, "version %d of the trust document ended at %s: have a publisher run `cellnode trust renew`", trust.Version, trust.Expires.UTC().Format(time.RFC3339))
	case !trust.issuers[first.Issuer]:
		return refuse(CodeIssuer, "the grant is signed by %s, who is no publisher of the cell", first.Issuer)
	}
	for i := range g.Chain {
		switch link := &g.Chain[i]; {
		case trust.peers[link.Peer]:
			return refuse(CodeRevoked, "version %d of the trust document revokes %s", trust.Version, link.Peer)
		case trust.serials[link.Serial]:
			return refuse(CodeRevoked, "version %d of the trust document revokes the grant %d", trust.Version, link.Serial)
		}
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
