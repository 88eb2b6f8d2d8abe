package find

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// Dial opens a connection to the nearest usable instance, waiting for the first one if none is known yet. One that
// does not answer is skipped unseen and probed; when none answers, Dial returns a *NoneError.
func (t *Tracker) Dial(ctx context.Context) (net.Conn, Instance, error) {
	for {
		s, err := t.Wait(ctx)
		if err != nil {
			return nil, Instance{}, err
		}
		nearest := s.Instances[0]
		c, err := t.Open(ctx, nearest)
		if err == nil {
			return c, nearest, nil
		}
		t.demote(nearest, err)
		if ctx.Err() != nil {
			s := t.Snapshot()
			return nil, Instance{}, &NoneError{t.cfg.Request.Cell, s.Ways, s.Refused, ctx.Err()}
		}
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
	return t.cfg.Dialer.Open(ctx, t.target(i), t.hello(link.Opening))
}

func (t *Tracker) target(i Instance) link.Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.table.entries[i.Peer]
	return link.Target{Peer: i.Peer, Addrs: i.Addrs, Trusted: e != nil && e.trusted}
}

// demote takes an instance that failed a call out of the choice until it has answered a probe.
func (t *Tracker) demote(i Instance, err error) {
	t.mu.Lock()
	if e := t.table.entries[i.Peer]; e != nil && e.live {
		e.live, e.err = false, err
		t.table.version++
	}
	t.mu.Unlock()
	t.Failed(i)
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
