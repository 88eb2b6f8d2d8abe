package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/pipe"
)

// forwardDialTimeout is how long a connection to Forward's listener may wait for a live instance.
const forwardDialTimeout = 30 * time.Second

// Forward passes every connection that l accepts on to the nearest live instance of the cell, until ctx ends or l
// is closed. It closes l, ends the connections that it carries, and returns when they have ended; ctx's end is no error.
func (c *Client) Forward(ctx context.Context, l net.Listener, name string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var wait time.Duration
	for {
		local, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of file descriptors, or a caller that went away while it was accepted: both pass.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			c.log.Warn("accept failed", "addr", l.Addr(), "err", err)
			_ = pause(ctx, wait) // l is closed when ctx has ended
			continue
		}
		wait = 0
		wg.Go(func() { c.forwardOne(ctx, local, name) })
	}
}

func (c *Client) forwardOne(ctx context.Context, local net.Conn, name string) {
	dialCtx, cancel := context.WithTimeout(ctx, forwardDialTimeout)
	defer cancel()
	local = pipe.Arm(local)
	remote, err := c.Dial(dialCtx, name)
	if err != nil {
		c.log.Error("connection not forwarded", "cell", name, "err", err)
		pipe.Abort(local, err)
		return
	}
	if err := pipe.Join(ctx, local, remote); err != nil && !errors.Is(err, context.Canceled) {
		c.log.Debug("forwarded connection ended", "cell", name, "err", err)
	}
}
