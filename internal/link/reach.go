package link

import (
	"context"
	"errors"
	"time"
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
			return c, rtt, err
		}
		r.failed = append(r.failed, Attempt{Addr: c.addr, Path: c.path, After: time.Since(r.start), Err: err})
	}
	return nil, 0, &UnreachableError{Peer: t.Peer, Attempts: r.failed, Err: context.Cause(ctx)}
}

// reachWarm tries the connections that stand. It returns nothing at all if none answers.
func (d *Dialer) reachWarm(ctx context.Context, t Target, h Hello) (*Conn, time.Duration, error) {
	k := d.memory.get(t.Peer)
	for ctx.Err() == nil {
		c := d.tcp.take(t.Peer)
		// Bulk goes over TCP where that works: a QUIC connection that serves a watch does not change it.
		if c == nil && (h.Op != Opening || !k.tcp || d.cfg.NoTCP || d.quic.probed(t.Peer)) {
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
		k.tcp = k.tcp || c.path == TCP
	})
}

// keep gives back a connection that may be asked again.
func (d *Dialer) keep(c *Conn) {
	if c.path == TCP && c.hellos < maxHellos/2 {
		d.tcp.put(c, d.cfg.Warm)
		return
	}
	if c.pooled != nil {
		c.pooled.touch()
	}
	c.Close()
}
