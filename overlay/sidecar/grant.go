package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

const (
	grantLook = 10 * time.Second // between two looks at the grant's file
	issuedFor = 24 * time.Hour   // how long a grant of this machine's own issuer is valid; it is renewed halfway
)

// grantWarnings is how long before the end of a grant its operator is told, or halfway where that is later. The last is said when
// it has ended.
func grantWarnings() []time.Duration {
	return []time.Duration{3 * 24 * time.Hour, 24 * time.Hour, time.Hour, 0}
}

// GrantError says that an instance may not serve its cell, and what its publisher has to do.
type GrantError struct {
	Cell manifest.Cell
	Peer peer.ID
	Path string // where the grant is to be put
	Err  error  // what is wrong with the one that there is; nil: there is none
}

// Error holds the command that a publisher must run.
func (e *GrantError) Error() string {
	what := "has no grant"
	if e.Err != nil {
		what = fmt.Sprintf("has a grant that is not taken (%v)", e.Err)
	}
	return fmt.Sprintf("sidecar: peer %s %s for %s, which names its publishers: have one of them run `cellnode grant --cell %s --peer %s`, and put what it prints into %s or CELL_GRANT",
		e.Peer, what, e.Cell, e.Cell, e.Peer, e.Path)
}

// Unwrap returns what is wrong with the grant.
func (e *GrantError) Unwrap() error { return e.Err }

// readGrant reads the instance's grant and holds it to the cell's publishers. Where there is none, or it is past its half,
// this machine's issuer makes another, if it has one; not in place of one that was revoked. In an open cell it is nil.
func (s *Sidecar) readGrant() (*record.Grants, error) {
	grants, err := s.storedGrant()
	var refusal *record.Refusal
	revoked := errors.As(err, &refusal) && refusal.Code == record.CodeRevoked
	if own := s.unsaved; own != nil && !revoked && (err != nil || grants.Chain[0].NotAfter.Before(own.Chain[0].NotAfter)) {
		s.save(own)
		grants, err = own, s.authority.Check(own, s.key.Peer, s.cfg.Instance.Commit, time.Now())
	}
	switch {
	case s.authority == nil, os.Getenv("CELL_GRANT") != "", revoked,
		err == nil && time.Until(grants.Chain[0].NotAfter) > grants.Chain[0].Valid()/2:
		return grants, err
	}
	issued, issueErr := s.issueGrant()
	switch {
	case issueErr != nil && err != nil:
		return nil, &GrantError{
			Cell: s.cfg.Instance.Cell, Peer: s.key.Peer, Path: s.cfg.Home.GrantPath(s.key.Name),
			Err: fmt.Errorf("%s: %w", s.cfg.Home.IssuePath(s.cfg.Instance.Name), issueErr),
		}
	case issueErr != nil:
		s.log.Warn("this machine's issuer cannot renew the grant", "valid until", grants.Chain[0].NotAfter, "err", issueErr)
		return grants, nil
	case issued == nil || err == nil && !issued.Chain[0].NotAfter.After(grants.Chain[0].NotAfter):
		return grants, err
	}
	s.save(issued)
	return issued, nil
}

// save writes a grant that was made here. One that cannot be written is used all the same, and written later.
func (s *Sidecar) save(issued *record.Grants) {
	err := s.cfg.Home.SaveGrant(s.key.Name, issued.Text())
	if err == nil {
		s.unsaved, s.unsavedSaid = nil, false
		return
	}
	s.unsaved = issued
	if !s.unsavedSaid {
		s.unsavedSaid = true
		s.log.Warn("the grant that this machine's issuer has made is not saved: a restart makes another", "err", err)
	}
}

// issueGrant signs a grant with this machine's issuer; without one it is nil.
func (s *Sidecar) issueGrant() (*record.Grants, error) {
	id := s.cfg.Instance
	key, text, err := s.cfg.Home.Issuer(id.Name)
	if key == nil || err != nil {
		return nil, err
	}
	above, err := record.ParseGrants(text)
	if err != nil {
		return nil, err
	}
	now, own := time.Now(), above.Chain[0]
	if !now.Before(own.NotAfter) {
		return nil, fmt.Errorf("it ended at %s", own.NotAfter.UTC().Format(time.RFC3339))
	}
	grant := record.Grant{
		Cell: id.Cell.ID(), Commit: own.Commit, Peer: s.key.Peer, Capabilities: []record.Capability{record.Serve}, Serial: rand.Uint64() | 1,
		NotBefore: now.Truncate(time.Second), NotAfter: now.Add(min(issuedFor, own.NotAfter.Sub(now))).Truncate(time.Second),
	}
	grants, err := record.SignGrant(key, grant, above)
	if err != nil {
		return nil, err
	}
	return grants, s.authority.Check(grants, s.key.Peer, id.Commit, now)
}

// storedGrant is the one that lies there.
func (s *Sidecar) storedGrant() (*record.Grants, error) {
	id := s.cfg.Instance
	text, err := s.cfg.Home.Grant(s.key.Name)
	if err != nil || text == "" && s.authority == nil {
		return nil, err
	}
	refused := &GrantError{Cell: id.Cell, Peer: s.key.Peer, Path: s.cfg.Home.GrantPath(s.key.Name)}
	if text == "" {
		return nil, refused
	}
	grants, err := record.ParseGrants(text)
	if err == nil && s.authority != nil {
		err = s.authority.Check(grants, s.key.Peer, id.Commit, time.Now())
	}
	if err != nil {
		refused.Err = err
		return nil, refused
	}
	return grants, nil
}

// firstGrant is readGrant for an instance that begins. One that is refused by a trust document asks the repository whether
// there is a newer one: it may have been pardoned since.
func (s *Sidecar) firstGrant(ctx context.Context) (*record.Grants, error) {
	grants, err := s.readGrant()
	var refusal *record.Refusal
	if s.cfg.Trust == nil || !errors.As(err, &refusal) || s.authority.Version() == 0 && refusal.Code != record.CodeIssuer {
		return grants, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if askErr := s.askRepository(ctx); askErr != nil {
		s.log.Info("no trust document from the repository", "cell", s.cfg.Instance.Cell.String(), "err", askErr)
	}
	return s.readGrant()
}

// askRepository gives the authority the document that the repository carries.
func (s *Sidecar) askRepository(ctx context.Context) error {
	cell := s.cfg.Instance.Cell
	document, _, err := s.cfg.Trust.Trust(ctx, cell.URL(), cell)
	if document == nil || err != nil {
		return err
	}
	_, err = s.authority.Take(document.Bytes(), time.Now())
	return err
}

// keepGrant takes a newer grant as soon as it lies there, says when the one in use is about to end, and ends the instance
// when a trust document takes it back.
func (s *Sidecar) keepGrant(ctx context.Context, grants *record.Grants) {
	tick := time.NewTicker(grantLook)
	defer tick.Stop()
	changed := make(chan struct{}, 1)
	defer s.authority.OnChange(func() { nudge(changed) })()
	warned := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changed:
		}
		fresh, err := s.readGrant()
		if err == nil && fresh != nil && fresh.Text() != grants.Text() {
			if err = s.instance.SetGrant(fresh); err == nil {
				grants, warned = fresh, 0
				s.log.Info("another grant", "valid until", fresh.Chain[0].NotAfter)
			}
		}
		if err != nil {
			s.log.Debug("no other grant", "err", err)
		}
		if s.revoked(grants) {
			return
		}
		warned = s.warn(&grants.Chain[0], warned)
	}
}

// revoked ends an instance whose publishers have taken its grant back.
func (s *Sidecar) revoked(grants *record.Grants) bool {
	if s.authority == nil {
		return false
	}
	id := s.cfg.Instance
	err := s.authority.Check(grants, s.key.Peer, id.Commit, time.Now())
	var refusal *record.Refusal
	if !errors.As(err, &refusal) || refusal.Code == record.CodeExpired || refusal.Code == record.CodeTrust {
		return false // an end by time is everybody's to see; a fresh grant or document goes on from there
	}
	s.end(&GrantError{Cell: id.Cell, Peer: s.key.Peer, Path: s.cfg.Home.GrantPath(s.key.Name), Err: err})
	return true
}

// warn says that a grant is about to end, or has ended, once for each of grantWarnings, of which so many were said.
func (s *Sidecar) warn(own *record.Grant, said int) int {
	due := 0
	for _, before := range grantWarnings() {
		if time.Until(own.NotAfter) < min(before, own.Valid()/2) {
			due++
		}
	}
	if due <= said {
		return said
	}
	level, what := slog.LevelWarn, "the grant ends soon: have a publisher renew it"
	if due == len(grantWarnings()) {
		level, what = slog.LevelError, "the grant has ended, and nobody takes this instance: have a publisher renew it"
	}
	s.log.Log(context.Background(), level, what, "valid until", own.NotAfter,
		"command", fmt.Sprintf("cellnode grant --cell %s --peer %s", s.cfg.Instance.Cell, s.key.Peer))
	return due
}

// trustEvery is how often the repository is asked for its trust document; other instances bring a newer one at once.
const trustEvery = 5 * time.Minute

// readTrust gives the authority what the repository says, and warns of a document that is about to end.
func (s *Sidecar) readTrust(ctx context.Context) {
	cell := s.cfg.Instance.Cell
	for {
		if err := s.askRepository(ctx); err != nil && ctx.Err() == nil {
			s.log.Info("no trust document from the repository", "cell", cell.String(), "err", err)
		}
		if t := s.authority.Trust(); t.Version > 0 && time.Until(t.Expires) < t.Expires.Sub(t.Issued)/6 {
			s.log.Warn("the trust document ends soon, and no instance is taken then: have a publisher run `cellnode trust renew`", "version", t.Version, "valid until", t.Expires)
		}
		select {
		case <-time.After(trustEvery):
		case <-ctx.Done():
			return
		}
	}
}
