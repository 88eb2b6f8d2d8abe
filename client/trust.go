package client

import (
	"context"

	"github.com/cellnode/cellnode/internal/record"
)

// authority says who may serve a cell, nil for one that is open and taken as such. Where no Cell.lock knows, the repository
// is asked, once: what it names at a tag does not change.
func (c *Client) authority(ctx context.Context, r *Resolved) (*record.Authority, error) {
	open := r.Admit(c.cfg.AllowOpen)
	if open != nil && r.Locked == nil {
		ctx, cancel := context.WithTimeout(ctx, gitTimeout)
		defer cancel()
		m, err := c.source.Manifest(ctx, r.Git, r.Cell.Tag)
		if err != nil {
			return nil, &OpenError{r.Cell, r.Name, err}
		}
		if m.File.Trust != nil {
			r.read, open = m.File.Trust.Keys, nil
		}
	}
	if open != nil {
		return nil, open
	}
	return r.request().Authority()
}
