package find

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// probeLoop keeps probes on their way to whoever is due.
func (t *Tracker) probeLoop(ctx context.Context) {
	slots := make(chan struct{}, maxProbes)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		case <-timer.C:
		}
		now := time.Now()
		t.mu.Lock()
		due := t.table.due(now, maxProbes-len(slots), t.followed > 0 || t.cfg.Follow == 0)
		targets := make([]link.Target, len(due))
		for i, e := range due {
			targets[i] = link.Target{Peer: e.peer, Addrs: e.addrs, Trusted: e.trusted, Urgent: t.dialling > 0 && !t.dialled}
		}
		next := t.table.next()
		t.mu.Unlock()
		for _, to := range targets {
			slots <- struct{}{}
			t.wg.Go(func() {
				t.probe(ctx, to)
				<-slots
			})
		}
		t.follow(ctx)
		timer.Reset(wait(next, now, len(slots) == maxProbes))
	}
}

// wait is how long the probe loop may sleep; a probe that ends wakes it sooner.
func wait(next, now time.Time, full bool) time.Duration {
	if next.IsZero() || full {
		return time.Minute
	}
	return max(0, next.Sub(now))
}

func (t *Tracker) hello(op link.Op) link.Hello {
	r := t.cfg.Request
	return link.Hello{Op: op, Cell: r.Cell.ID(), Commit: r.Commit, Fingerprint: r.Fingerprint}
}

func (t *Tracker) probe(ctx context.Context, to link.Target) {
	probeCtx, cancel := context.WithTimeout(ctx, t.cfg.ProbeTimeout)
	defer cancel()
	p, err := t.cfg.Dialer.Probe(probeCtx, to, t.hello(link.Probing))
	if ctx.Err() != nil {
		return
	}
	var rec *record.Signed
	if err == nil {
		rec, err = t.verify(to, p.Welcome)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.announceLocked()
	if err != nil {
		t.table.failed(to.Peer, err, final(err), now)
		t.cfg.Log.Debug("probe failed", "peer", to.Peer, "err", err)
		return
	}
	t.table.answered(to.Peer, answer{
		rtt: p.RTT, path: p.Path, state: p.Welcome.State, commit: p.Welcome.Commit,
		fingerprint: p.Welcome.Fingerprint, record: rec, rough: to.Urgent,
	}, now)
}

// verify holds an instance that answered to its own signed record.
func (t *Tracker) verify(to link.Target, w link.Welcome) (*record.Signed, error) {
	rec, err := record.Verify(w.Record, t.cfg.Request.Cell.ID(), time.Now())
	if err != nil {
		return nil, err
	}
	if rec.Peer != to.Peer {
		return nil, fmt.Errorf("find: answered with the record of another instance, %s", rec.Peer)
	}
	return rec, nil
}

// final reports whether the instance itself refused: asking once more would bring the same.
func final(err error) bool {
	var refused *link.Refused
	return errors.As(err, &refused)
}
