package link

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

// warmLimit is the time for an answer on a connection that stood already: if the peer vanished meanwhile, a new
// connection is tried after it.
func warmLimit(rtt, most time.Duration) time.Duration {
	return min(max(4*rtt, 250*time.Millisecond), most)
}

// reach asks a target, on a warm connection if there is one, and returns the stream that brought the first Welcome
// and the time that it took. With a *Refused the stream is closed; with any other error it is nil.
func (d *Dialer) reach(ctx context.Context, t Target, h Hello) (*Conn, time.Duration, error) {
	if t.Peer == "" {
		return nil, 0, errors.New("link: Target names no peer")
	}
	if _, err := h.proto(); err != nil {
		return nil, 0, err
	}
	if c, rtt, err := d.reachWarm(ctx, t, h); c != nil || err != nil {
		return c, rtt, err
	}
	r := d.race(ctx, t)
	defer r.stop()
	for c := r.next(); c != nil; c = r.next() {
		rtt, err := d.greet(ctx, c, h, d.cfg.WelcomeTimeout)
		if err == nil || isRefused(err) {
			r.won(c)
			return c, rtt, err
		}
		r.failed = append(r.failed, Attempt{Addr: c.addr, Path: c.path, After: time.Since(r.start), Err: err})
	}
	return nil, 0, &UnreachableError{Peer: t.Peer, Attempts: r.failed, Err: cmp.Or(context.Cause(ctx), context.Cause(r.ctx))}
}

// reachWarm tries the connections that stand. It returns nothing at all if none answers.
func (d *Dialer) reachWarm(ctx context.Context, t Target, h Hello) (*Conn, time.Duration, error) {
	k := d.memory.get(t.Peer)
	for ctx.Err() == nil {
		c := d.tls.take(t.Peer)
		if c == nil && !d.overTCP(t, h, k) {
			c = d.quic.stream(t.Peer)
		}
		if c == nil {
			return nil, 0, nil
		}
		rtt, err := d.greet(ctx, c, h, warmLimit(k.rtt, d.cfg.WelcomeTimeout))
		if err == nil || isRefused(err) {
			return c, rtt, err
		}
		d.cfg.Log.Debug("warm connection failed", "peer", t.Peer, "path", c.path, "err", err)
	}
	return nil, 0, nil
}

// near is a round trip so short that the three of one handshake more are not felt. The first one that was measured counts
// our processor's work too.
const near = 25 * time.Millisecond

// overTCP reports whether a call is worth a TCP connection although one over QUIC may stand: what calls carry is up to
// three times as fast there. A QUIC connection that serves a watch, or by which the peer was found when only its UDP address
// was known, does not change that; but the one that was just probed for this call saves round trips, which count when
// they are long.
func (d *Dialer) overTCP(t Target, h Hello, k known) bool {
	if h.Op != Opening || d.cfg.NoTCP || k.tcp == tcpFails || !t.hasTCP() {
		return false
	}
	return k.rtt < near || k.tcp == tcpWorks && !d.quic.probed(t.Peer)
}

// hasTCP reports whether one of the addresses is a TCP one.
func (t Target) hasTCP() bool {
	return slices.ContainsFunc(t.Addrs, func(a ma.Multiaddr) bool {
		e, err := parseAddr(a, t.Peer)
		return err == nil && e.path == TCP
	})
}

// greet asks on one connection and closes it unless the answer is yes.
func (d *Dialer) greet(ctx context.Context, c *Conn, h Hello, limit time.Duration) (time.Duration, error) {
	w, rtt, err := c.ask(ctx, h, limit)
	if err != nil {
		c.Reset()
		if c.pooled != nil {
			c.pooled.retire()
		}
		return 0, err
	}
	d.learn(c, rtt)
	c.welcome = w
	if w.Code != CodeOK {
		c.Close()
		return rtt, &Refused{Code: w.Code, Detail: w.Detail, Welcome: w, Hello: h}
	}
	return rtt, nil
}

func isRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r)
}

func (d *Dialer) learn(c *Conn, rtt time.Duration) {
	e, err := parseAddr(c.addr, "")
	if err != nil {
		return
	}
	d.memory.change(c.peer, func(k *known) {
		k.host, k.rtt = e.host(), rtt
		if c.path == TCP {
			k.tcp = tcpWorks
		}
	})
}

// keep gives back a connection that may be asked again.
func (d *Dialer) keep(c *Conn) {
	switch {
	case c.pooled != nil:
		c.pooled.touch()
	case c.hellos < maxHellos/2:
		d.tls.put(c, d.cfg.Warm)
		return
	}
	c.Close()
}
