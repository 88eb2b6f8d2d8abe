package spawn

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/cellnode/cellnode/internal/health"
)

// hangs is the status of a run that was ended because it did not answer any more.
const hangs = "it left its health checks without an answer"

// watchHang ends a run that has left every health check without an answer for as long as is set, so that it is started again. An
// answer that it is not well is one: it may wait for another cell, and a restart would not help it. A service that is checked by a
// bare connection, for it speaks no HTTP/2 and names no other kind, cannot be seen to hang.
func (c *Capsid) watchHang(run *running) {
	check, err := c.check("", c.dialShown)
	if err != nil {
		c.cfg.Log.Warn("the service is not watched", "cell", c.cfg.Cell.String(), "err", err)
		return
	}
	defer check.Close()
	h := c.cfg.File.Health
	tick := time.NewTicker(cmp.Or(h.Interval, health.DefaultInterval))
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-run.process.Done():
			return
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		if err := health.Once(c.ctx, h, check); !errors.Is(err, context.DeadlineExceeded) {
			answered = time.Now()
		}
		if silent := time.Since(answered); silent >= c.cfg.HangLimit && c.ctx.Err() == nil {
			c.cfg.Log.Warn("the service hangs, and is ended", "cell", c.cfg.Cell.String(), "silent", silent.Round(time.Millisecond))
			run.hung.Store(true)
			_ = run.process.Close()
			return
		}
	}
}
