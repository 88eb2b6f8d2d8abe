package find

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// Dialer is what a Tracker needs of link.Dialer.
type Dialer interface {
	Open(ctx context.Context, to link.Target, h link.Hello) (*link.Conn, error)
	Probe(ctx context.Context, to link.Target, h link.Hello) (link.Probe, error)
	List(ctx context.Context, to link.Target, h link.Hello) (link.List, error)
	Watch(ctx context.Context, to link.Target, h link.Hello, each func(link.List)) error
	Interface(ctx context.Context, to link.Target, h link.Hello) ([]byte, error)
}

// Config configures a Tracker.
type Config struct {
	Request Request
	// Authority is Request.Authority(): an instance without a grant by it is none. Nil: the cell is open.
	Authority *record.Authority
	Ways      []Way
	Dialer    Dialer
	// Interfaces judges instances whose interface is another one; nil: they are refused.
	Interfaces Interfaces
	// Follow is how many live instances are asked to push the changes of their lists; 0 means none, as in a node
	// that is itself an instance and hears them by gossip. Below 0 nobody pushes anything, and every instance is probed
	// often.
	Follow int
	// Again is the pause before a way is asked again while instances are live; zero means five minutes, because changes
	// are pushed. While none is live it is asked again after a second, then two, and so on up to half a minute.
	Again time.Duration
	// ProbeTimeout ends one probe; zero means 1.5 s.
	ProbeTimeout time.Duration
	// Urgent: a Dial follows at once, and nothing is begun before it that would hold it up.
	Urgent bool
	// Log may be nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Again == 0 {
		c.Again = 5 * time.Minute
	}
	if c.ProbeTimeout == 0 {
		c.ProbeTimeout = 1500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("cell", c.Request.Cell.String())
	return c
}

// maxProbes is how many probes of one tracker are on their way at once.
const maxProbes = 32

// A Tracker finds the instances of one cell and follows them until Close. Its methods may be called by any number
// of goroutines.
type Tracker struct {
	cfg    Config
	closed <-chan struct{} // by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	kick   chan struct{} // wakes the probing goroutine
	held   held

	mu        sync.Mutex
	table     *table
	reports   map[string]*WayReport
	seen      map[string]map[string]bool // way → candidates that it named
	following map[string]context.CancelFunc
	followed  int           // follows that have brought a list and still run
	lists     int           // follows that have brought a list or ended without one
	changed   chan struct{} // closed and replaced at each change
	missed    int           // how often somebody has looked in vain
	probes    int           // on their way
	hurry     time.Time     // when there was first somebody to probe
	dialling  int           // Dials that wait for the first connection of all
	dialled   bool          // one has ended
	announced uint64        // the table's version at the last change that a reader could see
	news      time.Time     // and when that was
	trusted   uint64        // version of the trust document that the instances have been held to
	untrust   func()        // ends the watch of the Authority
	resort    time.Time     // before this no last resort is run again
}

// New starts looking. Close ends it.
func New(cfg Config) *Tracker {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Tracker{
		cfg: cfg.withDefaults(), closed: ctx.Done(), cancel: cancel, kick: make(chan struct{}, 1),
		table: newTable(), reports: map[string]*WayReport{}, seen: map[string]map[string]bool{},
		following: map[string]context.CancelFunc{}, changed: make(chan struct{}), trusted: cfg.Authority.Version(),
	}
	t.untrust = cfg.Authority.OnChange(t.wake)
	if cfg.Urgent {
		t.dialling = 1
		time.AfterFunc(afterFirst, t.endDial)
	}
	for _, w := range cfg.Ways {
		t.reports[w.Name] = &WayReport{Way: w.Name, Done: w.When != nil}
		t.seen[w.Name] = map[string]bool{}
	}
	for _, w := range cfg.Ways {
		if w.When != nil {
			t.wg.Go(func() { t.keepReady(ctx, w) })
			continue
		}
		t.wg.Go(func() { t.keepAsking(ctx, w) })
	}
	t.wg.Go(func() { t.probeLoop(ctx) })
	return t
}

// Close stops looking and returns when every goroutine of the Tracker has ended; calls that wait end with ErrClosed. It may
// be called more than once.
func (t *Tracker) Close() error {
	t.untrust()
	t.cancel()
	t.wg.Wait()
	return nil
}

func (t *Tracker) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// A Snapshot is what a Tracker knows at one moment. It is a copy and may be kept.
type Snapshot struct {
	Instances []Instance  // the live ones, the nearest usable one first
	Ways      []WayReport // in the order of Config.Ways
	Refused   []Refusal
	// Settled: every way has been asked once and every candidate probed, or instances are live and nothing new has been
	// heard for a second: one slow way is no reason to wait for it. The list is as good as it will be without waiting for
	// changes.
	Settled bool
	version uint64
}

// Snapshot returns what is known now.
func (t *Tracker) Snapshot() Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshotLocked(t.settledLocked())
}

func (t *Tracker) snapshotLocked(settled bool) Snapshot {
	s := Snapshot{
		Instances: slices.Clone(t.table.instances()), Refused: t.table.refusals(), Settled: settled, version: t.table.version,
		Ways: make([]WayReport, 0, len(t.cfg.Ways)),
	}
	for _, w := range t.cfg.Ways {
		s.Ways = append(s.Ways, *t.reports[w.Name])
	}
	return s
}

// usable reports whether the first instance takes calls.
func (s Snapshot) usable() bool { return len(s.Instances) > 0 && s.Instances[0].Usable() }

// Next returns when the list has changed since prev, or has settled, or with ctx's error when that ends. The zero
// Snapshot is older than any.
func (t *Tracker) Next(ctx context.Context, prev Snapshot) (Snapshot, error) {
	return t.await(ctx, func(settled bool) bool { return t.table.version != prev.version || settled != prev.Settled })
}

// Version grows with each change that Next would return for.
func (t *Tracker) Version() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.version
}

// Instances returns the live instances, the nearest usable one first, and the version of the list.
func (t *Tracker) Instances() ([]Instance, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.table.instances()), t.table.version
}

// Changed returns a channel that is closed when something may have changed.
func (t *Tracker) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// quietAfter is how long a list with live instances must stay as it is to count as settled while a way is still busy.
const quietAfter = time.Second

// await returns what is known when done is true, which is called with the lock held at each change. It looks at the
// whole list only then: while hundreds of instances come in there are as many changes.
func (t *Tracker) await(ctx context.Context, done func(settled bool) bool) (Snapshot, error) {
	for {
		t.mu.Lock()
		settled := t.settledLocked()
		if done(settled) {
			defer t.mu.Unlock()
			return t.snapshotLocked(settled), nil
		}
		changed := t.changed
		var quiet <-chan time.Time
		if !settled && t.table.usable() {
			quiet = time.After(time.Until(t.news.Add(quietAfter)))
		}
		t.mu.Unlock()
		select {
		case <-changed:
		case <-quiet:
		case <-t.closed:
			return t.Snapshot(), ErrClosed
		case <-ctx.Done():
			return t.Snapshot(), ctx.Err()
		}
	}
}

// Settle returns when the list has settled, or with what is known then and ctx's error when that ends.
func (t *Tracker) Settle(ctx context.Context) (Snapshot, error) {
	return t.await(ctx, func(settled bool) bool { return settled })
}

// Wait returns as soon as one usable instance is known. When the list settles without one, or ctx ends, it returns a
// *NoneError, and the ways are asked again soon.
func (t *Tracker) Wait(ctx context.Context) (Snapshot, error) {
	s, err := t.await(ctx, func(settled bool) bool { return settled || t.table.usable() })
	if errors.Is(err, ErrClosed) {
		return s, err
	}
	if !s.usable() {
		t.mu.Lock()
		t.missed++
		t.announceLocked()
		t.mu.Unlock()
		return s, &NoneError{t.cfg.Request.Cell, s.Ways, s.Refused, err}
	}
	return s, nil
}

func (t *Tracker) settledLocked() bool {
	if t.table.usable() && time.Since(t.news) >= quietAfter {
		return true
	}
	return t.askedLocked() && !t.resortLocked()
}

// announceLocked wakes whoever waits for a change; the lock is held.
func (t *Tracker) announceLocked() {
	if v := t.table.version; v != t.announced {
		t.announced, t.news = v, time.Now()
	}
	close(t.changed)
	t.changed = make(chan struct{})
	t.wake()
}

// wake has the probing goroutine look.
func (t *Tracker) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// Found takes a candidate. It implements Sink.
func (t *Tracker) Found(c Candidate) {
	if c.Record != nil && t.cfg.Authority.Admit(c.Record, time.Now()) != nil {
		c.Record = nil // it remains a hint: the instance's own answer will say what is wrong with it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if seen := t.seen[c.Way]; seen != nil && !seen[string(c.Peer)] && len(seen) < maxEntries {
		seen[string(c.Peer)] = true
		t.reports[c.Way].Found++
	}
	before := t.table.version
	if t.table.found(c, time.Now()) || t.table.version != before {
		t.announceLocked()
		return
	}
	t.wake()
}

// Gone takes word of an end. It implements Sink.
func (t *Tracker) Gone(g Gone) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table.gone(g, time.Now()) {
		t.hangUpLocked(g.Peer)
	}
	t.announceLocked()
}

// TakeTrust takes a trust document of the cell, whoever brings it. One that is not newer changes nothing; what is wrong with
// one is said.
func (t *Tracker) TakeTrust(document []byte) error {
	_, err := t.cfg.Authority.Take(document, time.Now())
	return err
}

// trust holds what is known to the Authority's document, if that is another than before: whoever may not serve any more is
// refused at once, and everybody else is asked again.
func (t *Tracker) trust(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.Authority.Version() == t.trusted {
		return
	}
	t.trusted = t.cfg.Authority.Version()
	for _, e := range t.table.entries {
		if e.record == nil {
			continue
		}
		if err := t.cfg.Authority.Admit(e.record, now); err != nil && e.live {
			t.table.failed(e.peer, err, true, now)
			t.hangUpLocked(e.peer)
			continue
		}
		e.due = now // a newer record of it may have come too early
	}
	t.announceLocked()
}

// hangUpLocked resets the connections to an instance that is dead, without holding the lock any longer.
func (t *Tracker) hangUpLocked(id peer.ID) {
	select {
	case <-t.closed: // its connections stay, as Close says
	default:
		t.wg.Go(func() { t.held.reset(id) })
	}
}

// Failed tells the Tracker that an instance does not seem to be there, so that it is probed at once.
func (t *Tracker) Failed(i Instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.table.entries[i.Peer]; e != nil {
		e.doubt(time.Now())
		t.announceLocked()
	}
}
