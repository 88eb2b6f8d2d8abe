package spawn

import (
	"context"
	"errors"

	"github.com/cellnode/cellnode/internal/home"
)

// A Sharer lets a service that runs here serve clients on other machines too, as an instance of its cell.
type Sharer interface {
	// Share joins the cell with the key of a service, which stays the caller's, and calls joined when it has. When ctx ends
	// it says goodbye, lets calls under way finish within a time of its own, and returns nil. An error says why the service
	// is not, or no longer, an instance for others: it has no grant, for one.
	Share(ctx context.Context, order Order, key *home.Key, service home.Running, joined func()) error
}

// errTree is why a working tree is not shared.
var errTree = errors.New("spawn: what is built from a working tree has no commit by which others could tell what it runs")

// Share has the service serve other machines until it ends, and returns at once. What comes of that stands in Info. It does
// nothing where the service is shared already, or is about to end. A shared service does not end for want of use.
func (c *Capsid) Share(s Sharer, order Order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || !c.shared.CompareAndSwap(false, true) {
		return
	}
	c.sharing.Go(func() {
		defer c.shared.Store(false)
		err := errTree
		if order.Dir == "" {
			err = s.Share(c.ctx, order, c.key, c.Info(), func() { c.tell(true, "") })
		}
		if c.ctx.Err() != nil {
			return
		}
		c.cfg.Log.Warn("the service stays local", "cell", c.cfg.Cell.String(), "err", err)
		c.tell(false, err.Error())
	})
}

// tell says in the home directory whether the service is shared, and why not.
func (c *Capsid) tell(shared bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spawned := *c.record.Spawned
	spawned.Shared, spawned.Local = shared, why
	c.record.Spawned = &spawned
	c.announce()
}

// endSharing returns when the service has left its cell, and is not shared again.
func (c *Capsid) endSharing() {
	c.stop(errStopped) // the first cause counts
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.sharing.Wait()
}
