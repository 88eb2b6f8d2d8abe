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

// triesEach is how often one Dial tries one instance that answers probes but fails the call: it may just have come back.
const triesEach = 2

// Dial opens a connection to the nearest usable instance, waiting for the first one if none is known yet. One that
// does not answer is skipped unseen and probed; when none answers, Dial returns a *NoneError.
func (t *Tracker) Dial(ctx context.Context) (net.Conn, Instance, error) {
	defer t.dialFirst()()
	var failed []Refusal
	for {
		s, err := t.Wait(ctx)
		if err != nil {
			return nil, Instance{}, err
		}
		at := slices.IndexFunc(s.Instances, func(i Instance) bool { return i.Usable() && tries(failed, i) < triesEach })
		if at < 0 {
			return nil, Instance{}, t.none(failed, nil)
		}
		i := s.Instances[at]
		c, err := t.Open(ctx, i)
		if err == nil {
			return c, i, nil
		}
		switch {
		case t.isClosed():
			return nil, Instance{}, ErrClosed
		case ctx.Err() != nil: // which says nothing of the instance, unless it was slow
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Failed(i)
			}
			return nil, Instance{}, t.none(failed, ctx.Err())
		}
		failed = append(failed, Refusal{i.Peer, i.Sources, err})
		t.demote(i, err)
	}
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

// dialFirst counts a Dial as one that waits for the very first connection, until what it returns is called.
func (t *Tracker) dialFirst() (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dialled {
		return func() {}
	}
	t.dialling++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.dialling--
		t.dialled = true
		t.kickLocked()
	}
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
	c, err := t.cfg.Dialer.Open(ctx, t.target(i), t.hello(link.Opening))
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (t *Tracker) target(i Instance) link.Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.table.entries[i.Peer]
	return link.Target{Peer: i.Peer, Addrs: i.Addrs, Trusted: e != nil && e.trusted}
}

func (t *Tracker) demote(i Instance, err error) {
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
	p, err := t.cfg.Dialer.Probe(ctx, t.target(i), t.hello(link.Probing))
	if err != nil {
		return 0, "", 0, err
	}
	return p.RTT, p.Path, p.Welcome.State, nil
}
