package client

import (
	"context"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// authority says who may serve a cell, nil for one that is open and taken as such. Where no Cell.lock knows, the repository
// is asked, once: what it names at a tag does not change. The trust document that our own files hold is the least that
// counts.
func (c *Client) authority(ctx context.Context, r *Resolved) (*record.Authority, error) {
	if r.Locked == nil {
		if err := c.readPublishers(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := r.Admit(c.cfg.AllowOpen); err != nil {
		return nil, err
	}
	a, err := r.request().Authority()
	if a == nil || err != nil {
		return nil, err
	}
	document, err := r.document()
	if err == nil && document != nil {
		_, err = a.Take(document, time.Now())
	}
	return a, err
}

// openTimeout bounds what a call waits to be told whether a cell is open that its consumer takes either way.
const openTimeout = 5 * time.Second

// readPublishers asks a cell's repository who its publishers are. That the consumer takes an open cell is leave to go without
// them, not a wish to: it counts where there are none, or the repository does not answer.
func (c *Client) readPublishers(ctx context.Context, r *Resolved) error {
	open, limit := r.Admit(c.cfg.AllowOpen), gitTimeout
	if open == nil {
		limit = openTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := c.source.Manifest(ctx, r.Git, r.Cell.Tag)
	switch {
	case err == nil:
		r.read = m.File.Trust
	case open != nil:
		return &OpenError{r.Cell, r.Name, err}
	default:
		c.log.Warn("whether the cell names publishers cannot be read: it is taken as open", "cell", r.Cell.String(), "err", err)
	}
	return nil
}

// trustEvery is how often a repository is asked for its trust document while its cell is in use.
const trustEvery = 5 * time.Minute

// keepTrust gives the authority what this machine and the repository know, until ctx ends. Instances bring newer documents
// by themselves; the repository is for whoever is shown none.
func (c *Client) keepTrust(ctx context.Context, s *cell, a *record.Authority) {
	if c.home != nil {
		defer c.home.KeepTrust(a, c.log)()
	}
	for wait := c.headStart(s.Resolved); ; wait = trustEvery {
		if pause(ctx, wait) != nil {
			return
		}
		if err := c.readTrust(ctx, s, a); err != nil && ctx.Err() == nil {
			c.log.Debug("no trust document from the repository", "cell", s.Cell.String(), "err", err)
		}
	}
}

func (c *Client) readTrust(ctx context.Context, s *cell, a *record.Authority) error {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	document, _, err := c.source.Trust(ctx, s.Git, s.Cell)
	if document == nil || err != nil {
		return err
	}
	_, err = a.Take(document.Bytes(), time.Now())
	return err
}

// entrusted is how many live instances are handed a trust document: each passes it on.
const entrusted = 3

// Entrust hands a trust document to a few of the instances that were found, which pass it on to all others, and returns how
// many have taken it. With none it returns why: a *NoneError, or what the last one answered.
func (c *Client) Entrust(ctx context.Context, found Found, document []byte) (took int, err error) {
	err = &NoneError{Cell: found.Cell, Ways: found.Ways, Refusals: found.Refused}
	for _, i := range found.Instances {
		if took == entrusted || ctx.Err() != nil {
			break
		}
		if len(i.Addrs) == 0 {
			continue // a service on this machine is reached by its socket; its node hears of it from others
		}
		target := link.Target{Peer: i.Peer, Addrs: i.Addrs, Trusted: true}
		if err = c.dialer.Entrust(ctx, target, link.Hello{Cell: found.Cell.ID()}, document); err == nil {
			took++
		}
	}
	if took > 0 {
		err = nil
	}
	return took, err
}
