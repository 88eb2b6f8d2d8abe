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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		case <-timer.C:
		}
		t.trust(time.Now())
		targets, pause := t.nextProbes(time.Now())
		for _, to := range targets {
			t.wg.Go(func() { t.probe(ctx, to) })
		}
		t.follow(ctx)
		timer.Reset(pause)
	}
}

// nextProbes returns whom to probe now, and when to look again if nothing happens until then.
func (t *Tracker) nextProbes(now time.Time) (targets []link.Target, pause time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hurry.IsZero() && len(t.table.entries) > 0 {
		t.hurry = now
	}
	urgent := t.urgentLocked()
	allowed, recheck := t.allowedLocked(now)
	for _, e := range t.table.due(now, allowed, t.followed > 0 || t.cfg.Follow == 0) {
		targets = append(targets, link.Target{Peer: e.peer, Addrs: e.addrs, Trusted: e.trusted, Urgent: urgent})
	}
	t.probes += len(targets)
	switch next := t.relistLocked(now, t.table.next()); {
	case next.IsZero():
		return targets, time.Minute
	case len(targets) == allowed:
		return targets, recheck
	default:
		return targets, max(0, next.Sub(now))
	}
}

// urgentLocked reports whether a Dial waits for the very first connection of all.
func (t *Tracker) urgentLocked() bool { return t.dialling > 0 && !t.dialled }

// rampStep is the time in which the number of probes on their way may double while a Dial waits for the first answer.
// A handshake takes a millisecond of our processor: of thirty that are begun together, the first ends as late as the last.
const rampStep = 10 * time.Millisecond

// allowedLocked returns how many more probes may be on their way now, and when there may be more by time alone.
func (t *Tracker) allowedLocked(now time.Time) (n int, recheck time.Duration) {
	limit, recheck := maxProbes, time.Minute // the end of a probe kicks
	switch {
	case t.urgentLocked() && t.table.usable():
		return 0, recheck // whoever waited goes first
	case t.urgentLocked():
		if limit = 1 << min(10, now.Sub(t.hurry)/rampStep); limit < maxProbes {
			return max(0, limit-t.probes), rampStep
		}
	}
	return max(0, maxProbes-t.probes), recheck
}

func (t *Tracker) probe(ctx context.Context, to link.Target) {
	p, err := t.asked(ctx, to)
	if ctx.Err() != nil {
		return
	}
	var rec *record.Signed
	if err == nil {
		rec, err = t.verify(to, p.Welcome)
	}
	if ofGrant(err) && t.learnTrust(ctx, to) {
		rec, err = t.verify(to, p.Welcome)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.announceLocked()
	t.probes--
	if err == nil {
		err = t.cfg.Authority.Admit(rec, now) // a trust document may have come meanwhile
	}
	if busy(err) {
		t.table.busy(to.Peer, err, now)
		return
	}
	if err != nil {
		if t.table.failed(to.Peer, err, final(err), now) {
			t.hangUpLocked(to.Peer)
		}
		t.cfg.Log.Debug("probe failed", "peer", to.Peer, "err", err)
		return
	}
	t.table.answered(to.Peer, answer{
		rtt: p.RTT, path: p.Path, state: p.Welcome.State, commit: p.Welcome.Commit,
		fingerprint: p.Welcome.Fingerprint, record: rec, rough: to.Urgent,
	}, now)
}

var errOtherRecord = errors.New("find: answered with the record of another instance")

// verify holds an instance that answered to its own signed record.
func (t *Tracker) verify(to link.Target, w link.Welcome) (*record.Signed, error) {
	rec, err := record.Verify(w.Record, t.cfg.Request.Cell.ID(), time.Now())
	if err != nil {
		return nil, err
	}
	if rec.Peer != to.Peer {
		return nil, fmt.Errorf("%w, %s", errOtherRecord, rec.Peer)
	}
	return rec, t.cfg.Authority.Admit(rec, time.Now())
}

// ofGrant reports whether an instance is refused for its grant, which may be by a newer trust document than ours.
func ofGrant(err error) bool {
	var refusal *record.Refusal
	return errors.As(err, &refusal) && refusal.Code.OfGrant()
}

// learnTrust asks an instance for the trust document that it knows, and reports whether that was newer than ours. A document
// verifies itself: it may come from anybody.
func (t *Tracker) learnTrust(ctx context.Context, to link.Target) bool {
	now, before := time.Now(), t.cfg.Authority.Version()
	t.mu.Lock()
	e := t.table.entries[to.Peer]
	if e == nil || now.Before(e.untaught) {
		t.mu.Unlock()
		return false
	}
	e.untaught = now.Add(trustPause)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.cfg.ProbeTimeout)
	defer cancel()
	list, err := t.cfg.Dialer.List(ctx, to, t.hello(link.Listing, t.offeredBy(to)))
	if err == nil && list.Trust != nil {
		err = t.TakeTrust(list.Trust)
	}
	if err != nil {
		t.cfg.Log.Debug("no trust document from an instance that is refused", "peer", to.Peer, "err", err)
	}
	return t.cfg.Authority.Version() > before
}

// final reports whether the instance itself refused: asking once more would bring the same.
func final(err error) bool {
	var refused *link.Refused
	return errors.As(err, &refused)
}

// busy reports whether the instance is there, and has no time for us now.
func busy(err error) bool {
	var refused *link.Refused
	return errors.As(err, &refused) && refused.Code == link.CodeBusy
}
