package overlay

import (
	"context"
	"sync"
)

// counter counts what is open, and can be waited on until nothing is. The zero value is ready.
type counter struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n falls to 0; nil while nobody waits
}

func (c *counter) add(d int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.n == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) zero(ctx context.Context) error {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.empty == nil {
		c.empty = make(chan struct{})
	}
	empty := c.empty
	c.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
