package sidecar

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

const (
	grantLook = 10 * time.Second   // between two looks at the grant's file
	grantSoon = 3 * 24 * time.Hour // before the end of a grant its operator is told, or halfway where it is shorter
)

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

// readGrant reads the instance's grant and holds it to the cell's publishers. In an open cell it is nil.
func (s *Sidecar) readGrant() (*record.Grants, error) {
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

// keepGrant takes a newer grant as soon as it lies there, and says when the one in use is about to end.
func (s *Sidecar) keepGrant(ctx context.Context, grants *record.Grants) {
	tick := time.NewTicker(grantLook)
	defer tick.Stop()
	warned := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			fresh, err := s.readGrant()
			if err == nil && fresh != nil && fresh.Text() != grants.Text() {
				err = s.instance.SetGrant(fresh)
				grants, warned = fresh, false
				s.log.Info("another grant", "valid until", fresh.Chain[0].NotAfter)
			}
			if own := grants.Chain[0]; !warned && own.NotAfter.Sub(now) < min(grantSoon, own.NotAfter.Sub(own.NotBefore)/2) {
				warned = true
				s.log.Warn("the grant ends soon: have a publisher renew it", "valid until", own.NotAfter,
					"command", fmt.Sprintf("cellnode grant --cell %s --peer %s", s.cfg.Instance.Cell, s.key.Peer))
			}
			if err != nil {
				s.log.Debug("no other grant", "err", err)
			}
		}
	}
}
