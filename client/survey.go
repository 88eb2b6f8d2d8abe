package client

import (
	"context"

	"github.com/cellnode/cellnode/internal/find"
)

// Survey asks the instances of a cell who they are, whatever commit and interface they run, and returns when each has
// been asked once, or when ctx ends. Seeds of r.Locked count as known; its commit and fingerprint are not asked for. It is
// for the build step, which compares: Dial and Watch show only what may be used. For each interface that is another one
// than r.Locked's, verdicts says what Compare does.
func (c *Client) Survey(ctx context.Context, r *Resolved) (found Found, verdicts map[string]error, err error) {
	authority, err := c.authority(ctx, r)
	if err != nil {
		return Found{}, nil, err
	}
	all := *r
	if r.Locked != nil {
		locked := *r.Locked
		locked.Commit, locked.Fingerprint = "", ""
		all.Locked = &locked
	}
	s := c.start(&all, authority, c.ways(&all), false)
	defer s.close()
	known, err := s.tracker.Settle(ctx)
	if r.Locked != nil {
		verdicts = c.compareAll(ctx, r, s.tracker, known.Instances)
	}
	return Found{s.Cell, known}, verdicts, err
}

// compareAll compares every interface that is offered with the wanted one. Where one instance does not hand it over the
// next is asked.
func (c *Client) compareAll(ctx context.Context, r *Resolved, t *find.Tracker, list []find.Instance) map[string]error {
	wanted, verdicts := r.Locked.Fingerprint, map[string]error{}
	for _, i := range list {
		if err, known := verdicts[i.Fingerprint]; known && err == nil || i.Fingerprint == "" || i.Fingerprint == wanted || wanted == "" {
			continue
		}
		verdicts[i.Fingerprint] = cellInterfaces{c, r}.Compare(ctx, wanted, i.Fingerprint, func(ctx context.Context) ([]byte, error) {
			return t.Interface(ctx, i)
		})
	}
	return verdicts
}

// Compare says of a service on this machine whether calls made for r.Locked's interface fit its own, see find.Interfaces.
func (c *Client) Compare(ctx context.Context, r *Resolved, fingerprint string) error {
	return cellInterfaces{c, r}.Compare(ctx, r.Locked.Fingerprint, fingerprint, nil)
}
