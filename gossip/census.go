package gossip

import (
	"errors"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/cellnode/cellnode/internal/record"
)

// Census is the list of a cell's members at one moment. Machines that begin with it share it, and keep for themselves only
// what they learn beyond: so 10,000 of them fit into one process, whose lists alone would take 40 GB. It is never changed
// and may be used by any number of goroutines.
type Census struct {
	roster *roster
	rings  *rings
}

// NewCensus lists verified records of living members of a cell, for machines with the same profile. The time says how the
// rings lie; a machine may begin with them until the next one turns.
func NewCensus(cell cid.Cid, p Profile, records []*record.Signed, now time.Time) *Census {
	p = p.withDefaults()
	c := &Census{newRoster(nil), newRings(cell, p.Rings, p.Mesh, now)}
	places := make([][]placed, p.Rings)
	for _, rec := range records {
		if rec.State != record.Leaving && c.roster.apply(rec) {
			e := c.roster.entries[rec.Peer]
			e.heard, e.listed = stampOf(now), true
		}
	}
	for id := range c.roster.entries {
		for i := range places {
			places[i] = append(places[i], c.rings.place(i, c.rings.epoch[i], id))
		}
	}
	for i := range places {
		slices.SortFunc(places[i], comparePlaced)
		c.rings.order[i] = order{settled: places[i]}
	}
	return c
}

// fits reports why a machine cannot begin with the census.
func (c *Census) fits(m *Machine) error {
	switch {
	case !c.rings.cell.Equals(m.cell):
		return errors.New("gossip: the census is of another cell")
	case len(c.rings.order) != m.profile.Rings || c.rings.mesh != m.profile.Mesh:
		return errors.New("gossip: the census was made for another profile")
	case !slices.Equal(c.rings.epoch, m.rings.epoch):
		return errors.New("gossip: a ring has turned since the census")
	}
	return nil
}
