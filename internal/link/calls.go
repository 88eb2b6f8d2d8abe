package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link/linkpb"
)

const (
	probeSamples = 3
	probeNear    = 50 * time.Millisecond // above it one sample says enough
	silence      = 4 * time.Second       // of a watched instance; it sends something each second
)

// Open opens a stream to the target's instance. Errors are *Refused if the instance does not take it, and
// *UnreachableError if nobody answered in time.
func (d *Dialer) Open(ctx context.Context, t Target, h Hello) (*Conn, error) {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	h.Op = Opening
	c, _, err := d.reach(ctx, t, h)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// A Probe is what an instance answered, and how far it is.
type Probe struct {
	RTT     time.Duration // the least of a few exchanges on a connection that stood
	Path    string        // TCP, QUIC or LIBP2P
	Addr    ma.Multiaddr  // the one of the Target that answered
	Welcome Welcome
}

// Probe asks the target's instance whether it serves the cell. The connection is kept for a while, so that an Open,
// List or Watch that follows needs no handshake. If the instance refuses, the Probe is filled in and the error is a
// *Refused.
func (d *Dialer) Probe(ctx context.Context, t Target, h Hello) (Probe, error) {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return Probe{}, err
	}
	defer end()
	h.Op = Probing
	c, rtt, err := d.reach(ctx, t, h)
	if c == nil {
		return Probe{}, err
	}
	p := Probe{RTT: rtt, Path: c.path, Addr: c.addr, Welcome: c.welcome}
	if err != nil {
		return p, err
	}
	// The first exchange contains the instance's check of our certificate.
	for n := 1; n < probeSamples && rtt < probeNear && !t.Urgent; n++ {
		if rtt, err = d.greet(ctx, c, h, d.cfg.WelcomeTimeout); err != nil {
			return p, nil // it did answer
		}
		p.RTT, p.Welcome = min(p.RTT, rtt), c.welcome
	}
	d.memory.change(t.Peer, func(k *known) { k.rtt = p.RTT })
	d.keep(c)
	return p, nil
}

// List asks the target's instance for its list of the cell. Records that are not valid are dropped and counted.
func (d *Dialer) List(ctx context.Context, t Target, h Hello) (List, error) {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return List{}, err
	}
	defer end()
	h.Op = Listing
	c, _, err := d.reach(ctx, t, h)
	if err != nil {
		return List{}, err
	}
	lift := c.bound(ctx, listTimeout)
	l, err := readList(c, h)
	if ctxErr := lift(); ctxErr != nil {
		err = ctxErr
	}
	if err != nil {
		c.Reset()
		return List{}, fmt.Errorf("link: list of %s: %w", t.Peer, err)
	}
	d.keep(c)
	return l, nil
}

// Watch calls each with the target's full list of the cell and then with every change, from this goroutine, until
// ctx ends or the instance falls silent for four seconds. It always returns an error.
func (d *Dialer) Watch(ctx context.Context, t Target, h Hello, each func(List)) error {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return err
	}
	defer end()
	h.Op = Watching
	c, _, err := d.reach(ctx, t, h)
	if err != nil {
		return err
	}
	defer c.Reset()
	for {
		lift := c.bound(ctx, silence)
		l, err := readList(c, h)
		if ctxErr := lift(); ctxErr != nil {
			return ctxErr
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ErrSilent
		}
		if err != nil {
			return fmt.Errorf("link: watch of %s: %w", t.Peer, err)
		}
		if !l.empty() {
			each(l)
		}
	}
}

// Entrust hands a trust document to the target's instance, which passes it on to its cell. The error is a *Refused with the
// reason where it is not taken; one that the instance has already is taken.
func (d *Dialer) Entrust(ctx context.Context, t Target, h Hello, document []byte) error {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return err
	}
	defer end()
	h.Op = Trusting
	c, _, err := d.reach(ctx, t, h)
	if err != nil {
		return err
	}
	defer c.Reset()
	lift := c.bound(ctx, listTimeout)
	w, err := entrust(c, document)
	if ctxErr := lift(); ctxErr != nil {
		err = ctxErr
	}
	switch {
	case err != nil:
		return fmt.Errorf("link: trust document for %s: %w", t.Peer, err)
	case w.Code != CodeOK:
		return &Refused{Code: w.Code, Detail: w.Detail, Welcome: w, Hello: h}
	}
	return nil
}

func entrust(c *Conn, document []byte) (Welcome, error) {
	if err := writeFrame(c, &linkpb.List{Trust: document}, maxListFrame); err != nil {
		return Welcome{}, err
	}
	frame, err := readFrame(c, maxFrame)
	if err != nil {
		return Welcome{}, unexpected(err)
	}
	return parseWelcome(frame)
}

// readList reads one List in all its frames.
func readList(c *Conn, h Hello) (List, error) {
	var l List
	for first := true; ; first = false {
		frame, err := readFrame(c, maxListFrame)
		if err != nil {
			return List{}, unexpected(err)
		}
		var pb *linkpb.List
		if pb, err = parseList(frame); err != nil {
			return List{}, err
		}
		if first {
			l.ETag, l.NotModified, l.Full, l.Trust = pb.Etag, pb.NotModified, pb.Full, pb.Trust
		}
		if err := l.take(pb, h.Cell, time.Now()); err != nil {
			return List{}, err
		}
		if !pb.More {
			return l, nil
		}
	}
}
