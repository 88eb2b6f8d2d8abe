package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/home"
)

// Explain says of every instance that any way has named who named it, what became of it, and why it is used or not. It
// returns when each way and each instance has been asked once, or with what is known then and ctx's error when that
// ends.
func (c *Client) Explain(ctx context.Context, name string) (daemon.Explanation, Found, error) {
	s, err := c.cell(ctx, name)
	if err != nil {
		return daemon.Explanation{}, Found{}, err
	}
	known, accounts, err := s.tracker.Explain(ctx)
	for _, passed := range c.passedOver(ctx, s.Resolved) {
		if !slices.ContainsFunc(accounts, func(a find.Account) bool { return a.Peer == passed.Peer }) {
			accounts = append(accounts, passed)
		}
	}
	return daemon.NewExplanation(s.request(), known, accounts), Found{s.Cell, known}, err
}

// passedOver are the services of the cell on this machine that the local way leaves out, as they run something else than
// is wanted.
func (c *Client) passedOver(ctx context.Context, r *Resolved) (list []find.Account) {
	if c.home == nil || !c.uses(find.Local) {
		return nil
	}
	running, _ := c.home.Running() // what is damaged is said by the local way
	for _, s := range running {
		id, err := peer.Decode(s.Peer)
		if err != nil || s.CID != r.Cell.ID().String() {
			continue
		}
		if err := c.fits(ctx, r, s); err != nil {
			list = append(list, find.Account{
				Instance: find.Instance{
					Peer: id, Path: find.Local, Commit: s.Commit, Fingerprint: s.Fingerprint, Socket: s.Socket,
					Sources: []string{find.Local}, Since: s.Since,
				},
				Verdict: find.Mismatch, Err: err, Why: find.MismatchHint(err),
			})
		}
	}
	return list
}

// fits says whether a service of this machine runs what is wanted, or what is as good (see find.Interfaces).
func (c *Client) fits(ctx context.Context, r *Resolved, s home.Running) error {
	req := r.request()
	switch {
	case req.Fingerprint != "" && s.Fingerprint != req.Fingerprint:
		const text = "client: the service on this machine has another interface: want %s, runs %s"
		if s.Fingerprint == "" {
			return fmt.Errorf(text, req.Fingerprint, "none")
		}
		if err := (cellInterfaces{c, r}).Compare(ctx, req.Fingerprint, s.Fingerprint, nil); err != nil {
			return fmt.Errorf(text+": %w", req.Fingerprint, s.Fingerprint, err)
		}
	case req.Fingerprint == "" && req.Commit != "" && s.Commit != req.Commit:
		return fmt.Errorf("client: the service on this machine runs another commit: want %s, runs %s", req.Commit, orNone(s.Commit))
	case s.Socket == "":
		return errors.New("client: the service on this machine has no socket yet")
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
