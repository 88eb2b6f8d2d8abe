package find

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/link"
)

// follow sees to it that the nearest live instances push their lists to us: as many as Config.Follow, of which one
// may die or lie by omission without our missing anything.
func (t *Tracker) follow(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, end := range t.following {
		// Who has said goodbye hears nothing any more, and may keep the stream open while it drains.
		if e := t.table.entries[peer.ID(id)]; e == nil || !e.live && e.failures > 1 {
			end()
		}
	}
	now := time.Now()
	if len(t.following) >= t.cfg.Follow || t.urgentLocked() && t.table.usable() {
		return // whoever waits for the very first connection gets the one that was probed
	}
	for _, i := range t.table.instances() {
		if len(t.following) >= t.cfg.Follow {
			return
		}
		if e := t.table.entries[i.Peer]; !followable(i) || t.following[string(i.Peer)] != nil || e.failures > 0 || now.Before(e.listless) {
			continue
		}
		followCtx, cancel := context.WithCancel(ctx)
		t.following[string(i.Peer)] = cancel
		t.wg.Go(func() {
			t.followOne(followCtx, i)
			cancel()
		})
	}
}

// relistLocked returns when a list is to be asked for again that was not served, if that is before next, else next; zero is
// never.
func (t *Tracker) relistLocked(now, next time.Time) time.Time {
	if len(t.following) >= t.cfg.Follow {
		return next
	}
	for _, e := range t.table.entries {
		if e.live && e.listless.After(now) && (next.IsZero() || e.listless.Before(next)) {
			next = e.listless
		}
	}
	return next
}

func followable(i Instance) bool { return !i.Self && len(i.Addrs) > 0 }

// followOne takes what one instance pushes until it ends, and then has that instance probed.
func (t *Tracker) followOne(ctx context.Context, i Instance) {
	t.mu.Lock()
	e := t.table.entries[i.Peer]
	to := link.Target{Peer: i.Peer, Addrs: i.Addrs, Trusted: e != nil && e.trusted}
	t.mu.Unlock()
	listed := false
	err := t.cfg.Dialer.Watch(ctx, to, t.hello(link.Watching, i.offered()), func(l link.List) {
		t.takeList(l)
		if !listed {
			listed = true
			t.mu.Lock()
			t.followed++
			t.lists++
			t.announceLocked()
			t.mu.Unlock()
		}
	})
	t.cfg.Log.Debug("list ended", "peer", i.Peer, "err", err)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.following, string(i.Peer))
	e = t.table.entries[i.Peer]
	if listed {
		t.followed--
	} else {
		t.lists++
	}
	if e != nil && !listed {
		e.listless = time.Now().Add(lonelyProbe)
	}
	if e != nil && ctx.Err() == nil {
		e.doubt(time.Now())
	}
	t.announceLocked()
}

func (t *Tracker) takeList(l link.List) {
	if l.Trust != nil {
		if err := t.TakeTrust(l.Trust); err != nil {
			t.cfg.Log.Debug("a trust document was not taken", "err", err)
		}
	}
	for _, m := range l.Members {
		t.Found(Candidate{Peer: m.Record.Peer, Addrs: m.Record.Addrs, Record: m.Record, Way: List})
	}
	for _, g := range l.Gone {
		t.Gone(Gone{Peer: g.Peer, Incarnation: g.Incarnation, Leave: g.Leave})
	}
}
