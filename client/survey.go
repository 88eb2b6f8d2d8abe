package client

import "context"

// Survey asks the instances of a cell who they are, whatever commit and interface they run, and returns when each has
// been asked once, or when ctx ends. Seeds of r.Locked count as known; its commit and fingerprint are not asked for. It is
// for the build step, which compares: Dial and Watch show only what may be used.
func (c *Client) Survey(ctx context.Context, r *Resolved) (Found, error) {
	authority, err := c.authority(ctx, r)
	if err != nil {
		return Found{}, err
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
	return Found{s.Cell, known}, err
}
