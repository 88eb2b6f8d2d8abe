package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// kills cuts the power of one member after the other, at any moment of a probe period. A few may be dead at once, as
// the course says; each is replaced when all know of its death, so the size stays.
func (r *run) kills(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, r.course.together)
	for range r.course.kills {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := pause(ctx, r.course.pauseMin+rand.N(r.course.pauseMin)); err != nil {
			return context.Cause(ctx)
		}
		victim := r.take()
		victim.silence()
		d := r.lab.census.killed(victim.id(), time.Now())
		wg.Go(func() {
			defer func() { <-room }()
			if err := r.bury(ctx, victim, d); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// bury waits until all know of a death, notes it, and starts a member in its place.
func (r *run) bury(ctx context.Context, victim member, d *death) error {
	if err := victim.stop(); err != nil {
		return err
	}
	patience := time.NewTimer(r.course.patience)
	defer patience.Stop()
	select {
	case <-d.done:
	case <-patience.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	r.result.Deaths = append(r.result.Deaths, r.lab.census.result(d))
	r.mu.Unlock()
	return errors.Join(r.newcomer(ctx), ctx.Err())
}
