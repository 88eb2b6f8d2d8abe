package dht

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	entryParallel = 8                // entry points dialled in one round
	entryTimeout  = 5 * time.Second  // of one dial
	entryBackoff  = time.Second      // after the first round that failed, doubling to
	entryMax      = 30 * time.Second // this, for ever
	tendFirst     = 10 * time.Second // after joining, doubling to
	tendEvery     = 5 * time.Minute  // this
	refreshFirst  = time.Minute      // the first refresh of the whole table
	refreshEvery  = 10 * time.Minute // and the others, as kad-dht has it
)

// join keeps the node in the network: rounds of entry points while the table is empty, and tending while it is not.
func (d *DHT) join(ctx context.Context) {
	failed, next := 0, tending{}
	for ctx.Err() == nil {
		n, moved := d.table.state()
		if n == 0 && d.enter(ctx) {
			n, next = d.Size(), tending{}
		}
		d.markEntered(ctx)
		wait := entryWait(failed, rand.Float64())
		if n > 0 {
			wait = next.wait(time.Now(), rand.Float64())
		}
		switch why := d.idle(ctx, moved, wait); {
		case n == 0:
			if failed++; failed == 1 {
				d.log.Info("no other node reached yet", "entries", len(d.cfg.Bootstrap()))
			}
			if why == asked { // with others than before
				failed = 0
			}
		case why == due:
			failed, next = 0, tending{times: next.times + 1}
			d.tend(ctx)
		case why == asked:
			failed, next = 0, tending{}
			d.revisit(ctx)
		default:
			failed = 0
		}
	}
}

// tending is when the table is tended next. The zero value is a table that has just been joined.
type tending struct {
	times int       // tended since
	due   time.Time // zero: to be set when it is first asked for
}

// wait returns how long it is until then. Whatever else ends a wait leaves due as it is: a table or addresses that often
// change would put tending off for ever.
func (t *tending) wait(now time.Time, u float64) time.Duration {
	if t.due.IsZero() {
		t.due = now.Add(jitter(doubling(tendFirst, t.times, tendEvery), u))
	}
	return t.due.Sub(now)
}

// tend visits a random entry point that is not connected, without which two halves of a network that lost each other
// would never meet again, and looks round while the table is small: whoever was among the first knows only those that
// came looking for him.
func (d *DHT) tend(ctx context.Context) {
	d.visitEntry(ctx)
	if d.Size() < d.cfg.bucket {
		d.Refresh(ctx)
	}
}

// keepTable refreshes the table: peers that have not been of use lately are asked whether they are there, and each bucket
// is looked up. kad-dht would do that at the start and with each of the first ten peers, when every node of a network that
// starts does the same: of 50 nodes that made half of all messages, and taught nothing that the look-up of the own id
// does not.
func (d *DHT) keepTable(ctx context.Context) {
	for wait := refreshFirst; ; wait = refreshEvery {
		timer := time.NewTimer(jitter(wait, rand.Float64()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		select {
		case err := <-d.kad.RefreshRoutingTable():
			if err != nil {
				d.log.Debug("table refreshed in part", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Revisit says that the entry points have others among them than before: those are visited at once, and not only when
// the table is empty. It does not wait.
func (d *DHT) Revisit() {
	select {
	case d.asked <- struct{}{}:
	default:
	}
}

// revisit dials the entry points that are not connected, and looks round if one of them answers: behind it there may be a
// network of which nobody here has heard.
func (d *DHT) revisit(ctx context.Context) {
	strange := slices.DeleteFunc(d.entries(1<<10), func(e peer.AddrInfo) bool { return d.connected(e.ID) })
	if len(strange) > 0 && d.dialAny(ctx, strange[:min(len(strange), entryParallel)]) {
		d.Refresh(ctx)
	}
}

// Why idle has ended.
type wake int

const (
	due     wake = iota // the time is up
	changed             // the table or the addresses changed, or ctx ended
	asked               // the entry points changed
)

func (d *DHT) idle(ctx context.Context, table <-chan struct{}, wait time.Duration) wake {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return due
	case <-d.asked:
		return asked
	case <-table:
	case <-d.addrs.wait():
	case <-ctx.Done():
	}
	return changed
}

// entryWait is the pause after a failed round: doubling, with u in [0, 1) spreading the later half.
func entryWait(failed int, u float64) time.Duration {
	full := doubling(entryBackoff, failed, entryMax)
	return full/2 + time.Duration(u*float64(full/2))
}

// doubling returns first·2^n, and limit where that is less.
func doubling(first time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && first < limit; n-- {
		first *= 2
	}
	return min(first, limit)
}

// jitter shortens d by up to a fifth, so that nodes that started together drift apart and a limit is never passed.
func jitter(d time.Duration, u float64) time.Duration { return d - time.Duration(u*float64(d/5)) }

// markEntered opens the gate that first announcements wait at.
func (d *DHT) markEntered(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	select {
	case <-d.entered:
	default:
		close(d.entered)
	}
}

// enter dials a round of entry points and returns when the table has a peer, or when all have failed.
func (d *DHT) enter(ctx context.Context) bool {
	entries := d.entries(entryParallel)
	if len(entries) == 0 {
		return false
	}
	if !d.dialAny(ctx, entries) || !d.table.filled(ctx, tableCheck) {
		return false
	}
	d.log.Info("joined", "peers", d.Size())
	if d.cfg.Lean || d.cfg.Server {
		d.Refresh(ctx)
	}
	return true
}

// dialAny returns as soon as one of the entries is connected; the other dials go on. False: none could be reached.
func (d *DHT) dialAny(ctx context.Context, entries []peer.AddrInfo) bool {
	ctx, cancel := context.WithTimeout(ctx, entryTimeout)
	connected := make(chan struct{}, len(entries))
	var dials sync.WaitGroup
	for _, e := range entries {
		dials.Go(func() {
			if err := d.dial(ctx, e); err != nil {
				d.log.Debug("entry point not reached", "peer", e.ID, "err", err)
				return
			}
			connected <- struct{}{}
		})
	}
	done := make(chan struct{})
	d.wg.Go(func() {
		dials.Wait()
		cancel()
		close(done)
	})
	select {
	case <-connected:
		return true
	case <-done:
		return len(connected) > 0
	}
}

// dial connects to p. libp2p's own back-off after failed dials grows to five minutes and would hide an entry point that
// has come up, so it is cleared: the pace is ours.
func (d *DHT) dial(ctx context.Context, p peer.AddrInfo) error {
	if s, ok := d.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p.ID)
	}
	return d.host.Connect(ctx, p)
}

func (d *DHT) visitEntry(ctx context.Context) {
	for _, e := range d.entries(1 << 10) {
		if d.connected(e.ID) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, entryTimeout)
		defer cancel()
		if err := d.dial(ctx, e); err != nil {
			d.log.Debug("entry point not reached", "peer", e.ID, "err", err)
		}
		return
	}
}

// entries returns at most n entry points other than ourselves, in random order.
func (d *DHT) entries(n int) []peer.AddrInfo {
	all := d.cfg.Bootstrap()
	out := make([]peer.AddrInfo, 0, min(n, len(all)))
	for _, i := range rand.Perm(len(all)) {
		if len(out) == n {
			break
		}
		if all[i].ID != d.host.ID() && all[i].ID != "" {
			out = append(out, all[i])
		}
	}
	return out
}
