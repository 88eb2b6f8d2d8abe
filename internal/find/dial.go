package find

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

const (
	// triesEach is how often one Dial tries one instance that answers probes but fails the call: it may just have come
	// back.
	triesEach = 2
	// patience is how long one instance may keep a Dial from the next one, besides a few round trips to it. One that has
	// just died refuses TCP at once, and over UDP it is silent.
	patience = 500 * time.Millisecond
)

// Dial opens a connection to the nearest usable instance, waiting for the first one if none is known yet. One that
// does not answer is skipped after half a second and probed; when none answers, Dial returns a *NoneError.
func (t *Tracker) Dial(ctx context.Context) (net.Conn, Instance, error) {
	defer t.dialFirst()()
	var failed []Refusal
	for {
		s, err := t.Wait(ctx)
		if err != nil {
			return nil, Instance{}, err
		}
		i, others := choose(s.Instances, failed)
		if i == nil {
			return nil, Instance{}, t.none(failed, nil)
		}
		c, err := t.OpenPatiently(ctx, *i, others)
		if err == nil {
			return c, *i, nil
		}
		switch {
		case t.isClosed():
			return nil, Instance{}, ErrClosed
		case ctx.Err() != nil: // which says nothing of the instance, unless it was slow
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Failed(*i)
			}
			return nil, Instance{}, t.none(failed, ctx.Err())
		}
		failed = append(failed, Refusal{i.Peer, i.Sources, err})
		t.Demote(*i, err)
	}
}

// choose returns the nearest of those usable instances that a Dial has tried least, and whether there are others that it
// may still try; nil when there is none.
func choose(list []Instance, failed []Refusal) (best *Instance, others bool) {
	least := triesEach
	for n := range list {
		tried := tries(failed, list[n])
		if !list[n].Usable() || tried >= triesEach {
			continue
		}
		others = others || best != nil
		if tried < least {
			best, least = &list[n], tried
		}
	}
	return best, others
}

// OpenPatiently is Open, and waits for the instance as long as ctx allows only if there are no others.
func (t *Tracker) OpenPatiently(ctx context.Context, i Instance, others bool) (net.Conn, error) {
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience+4*i.RTT)
		defer cancel()
	}
	return t.Open(ctx, i)
}

func tries(failed []Refusal, i Instance) (n int) {
	for _, f := range failed {
		if f.Peer == i.Peer {
			n++
		}
	}
	return n
}

// none says that no instance took the call, those included that have answered a probe since they failed it.
func (t *Tracker) none(failed []Refusal, err error) error {
	s := t.Snapshot()
	for n, f := range failed {
		same := func(r Refusal) bool { return r.Peer == f.Peer }
		if !slices.ContainsFunc(s.Refused, same) && !slices.ContainsFunc(failed[n+1:], same) {
			s.Refused = append(s.Refused, f)
		}
	}
	return &NoneError{t.cfg.Request.Cell, s.Ways, s.Refused, err}
}

// afterFirst is how much later than the very first Dial of all other work begins: the call that it was made for goes first.
const afterFirst = 50 * time.Millisecond

// dialFirst counts a Dial as one that waits for the very first connection, until a little after what it returns is
// called.
func (t *Tracker) dialFirst() (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dialled {
		return func() {}
	}
	t.dialling++
	t.wake()
	return func() {
		time.AfterFunc(afterFirst, func() {
			t.mu.Lock()
			t.dialled = true
			t.mu.Unlock()
			t.endDial()
		})
	}
}

func (t *Tracker) endDial() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dialling--
	t.wake()
}

// Open opens a connection to this instance and no other.
func (t *Tracker) Open(ctx context.Context, i Instance) (net.Conn, error) {
	if i.Socket != "" {
		network, addr, ok := strings.Cut(i.Socket, ":")
		if !ok || network != "unix" && network != "tcp" {
			return nil, fmt.Errorf("find: socket %q is neither unix:PATH nor tcp:HOST:PORT", i.Socket)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	c, err := t.cfg.Dialer.Open(ctx, t.target(i), t.hello(link.Opening, i.offered()))
	if err != nil {
		return nil, err
	}
	return t.held.add(i.Peer, c), nil
}

func (t *Tracker) target(i Instance) link.Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.table.entries[i.Peer]
	return link.Target{Peer: i.Peer, Addrs: i.Addrs, Trusted: e != nil && e.trusted}
}

// Demote takes an instance that failed a call out of the list until it has answered a probe, which is made at once.
func (t *Tracker) Demote(i Instance, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.demote(i, err, time.Now())
	t.announceLocked()
}

// Ping measures the round trip to this instance. For a local socket that is the time to connect.
func (t *Tracker) Ping(ctx context.Context, i Instance) (rtt time.Duration, path string, state record.State, err error) {
	if i.Self {
		return 0, Local, i.State, nil
	}
	if i.Socket != "" {
		start := time.Now()
		c, err := t.Open(ctx, i)
		if err != nil {
			return 0, Local, 0, err
		}
		return time.Since(start), Local, i.State, c.Close()
	}
	p, err := t.cfg.Dialer.Probe(ctx, t.target(i), t.hello(link.Probing, i.offered()))
	if err != nil {
		return 0, "", 0, err
	}
	return p.RTT, p.Path, p.Welcome.State, nil
}
