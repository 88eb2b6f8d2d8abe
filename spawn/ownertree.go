package spawn

import (
	"context"
	"time"

	"github.com/cellnode/cellnode/internal/source"
)

// treeLook is how often a working tree that runs is looked at for changes.
const treeLook = time.Second

// provideTree builds a working tree as it is now. What ran before is replaced once that is built, and goes on if it is not.
func (o *Owner) provideTree(order Order, step func(string)) (Started, error) {
	seen, err := stamp(order.Dir) // before the build: what changes meanwhile is built next
	if err != nil {
		return Started{}, err
	}
	c, err := source.OpenCheckout(order.Dir)
	if err != nil {
		return Started{}, err
	}
	m := &source.Manifest{File: c.File, Fingerprint: c.Fingerprint}
	begun := time.Now()
	a, err := o.build(order, m, step)
	if err != nil {
		return Started{}, err
	}
	o.mu.Lock()
	own := o.owned[order.same()]
	o.mu.Unlock()
	if own != nil {
		if own.cfg.Artifact.Key == a.Key {
			if info, err := own.awaitReady(o.ctx); err == nil {
				return Started{Running: info, Binary: a, Ran: true}, nil
			}
		}
		if err := own.Stop(context.WithoutCancel(o.ctx)); err != nil {
			return Started{}, err
		}
	}
	started, err := o.run(order, m, a, time.Since(begun), step)
	if err == nil && own == nil {
		o.flying.Go(func() { o.watchTree(order, seen) })
	}
	return started, err
}

// watchTree has a working tree built again when its files change, for as long as it runs.
func (o *Owner) watchTree(order Order, seen string) {
	tick := time.NewTicker(treeLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-o.ctx.Done():
			return
		}
		o.mu.Lock()
		runs := o.owned[order.same()] != nil || o.flights[order.same()] != nil
		o.mu.Unlock()
		if !runs {
			return
		}
		now, err := stamp(order.Dir)
		if err != nil || now == seen {
			continue // while files are being written some may be gone
		}
		seen = now
		f, err := o.join(order)
		if err != nil {
			return
		}
		<-f.done
		if f.err != nil {
			o.cfg.Log.Warn("the working tree has changed and is not run: what ran before goes on", "cell", order.Cell.String(), "path", order.Dir, "err", f.err)
		}
	}
}
