package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	connectTimeout = 5 * time.Second // of one address, handshake included
	resolveTimeout = 2 * time.Second
	maxResolved    = 4 // addresses of one name that are tried
)

// connect dials one endpoint up to the end of the handshake.
func (d *Dialer) connect(ctx context.Context, t Target, e endpoint) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if e.name != "" {
		return d.connectName(ctx, t, e)
	}
	switch e.path {
	case TCP:
		return d.connectTCP(ctx, t.Peer, e)
	case LIBP2P:
		return d.connectNode(ctx, t.Peer, e)
	}
	return d.connectQUIC(ctx, t.Peer, e)
}

// connectName resolves a name and tries what it stands for, one after the other. A name is another disguise for an
// address, so each address is judged like one that was named outright.
func (d *Dialer) connectName(ctx context.Context, t Target, e endpoint) (*Conn, error) {
	network := map[int]string{0: "ip", 4: "ip4", 6: "ip6"}[e.v]
	lookup, cancel := context.WithTimeout(ctx, resolveTimeout)
	ips, err := d.cfg.Resolve(lookup, network, e.name)
	cancel()
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("link: %s has no address", e.name)
	for _, ip := range ips[:min(len(ips), maxResolved)] {
		e := e
		e.name, e.ip = "", ip.Unmap()
		if err = dialableIP(e.ip, d.cfg.Local(), t.Trusted); err != nil {
			continue
		}
		var c *Conn
		if c, err = d.connect(ctx, t, e); err == nil || ctx.Err() != nil {
			return c, err
		}
	}
	return nil, err
}

func (d *Dialer) connectTCP(ctx context.Context, id peer.ID, e endpoint) (*Conn, error) {
	done, err := d.cfg.Budget.dial(ctx, id, port{e.path, e.addrPort()})
	if err != nil {
		return nil, err
	}
	c, err := d.dialTCP(ctx, id, e)
	done(err)
	if err != nil && !errors.Is(err, context.Canceled) {
		d.memory.change(id, func(k *known) { k.tcp = tcpFails })
	}
	return c, err
}

func (d *Dialer) dialTCP(ctx context.Context, id peer.ID, e endpoint) (*Conn, error) {
	network := "tcp4"
	if e.ip.Is6() {
		network = "tcp6"
	}
	raw, err := d.cfg.DialTCP(ctx, network, e.addrPort().String())
	if err != nil {
		return nil, plain(ctx, err)
	}
	d.memory.change(id, func(k *known) { k.tcp = tcpWorks })
	tuneTCP(raw)
	return d.secure(ctx, id, raw, e)
}

// secure makes the TLS handshake on a connection, and closes it if that fails.
func (d *Dialer) secure(ctx context.Context, id peer.ID, raw net.Conn, e endpoint) (*Conn, error) {
	var v verdict
	tc := tls.Client(truthConn{raw}, d.cfg.Identity.config(id, &v))
	if err := tc.HandshakeContext(ctx); err != nil {
		hard(raw)
		raw.Close()
		return nil, plain(ctx, v.explain(err))
	}
	return &Conn{stream: &tcpStream{Conn: tc, raw: raw}, path: e.path, peer: id, addr: e.ma}, nil
}

// connectNode has the node open a stream. What one relay is asked for on behalf of several peers does not wait for each
// other, but all of it is paid from the budget of the relay's address: who signs a record may name anybody as a relay.
func (d *Dialer) connectNode(ctx context.Context, id peer.ID, e endpoint) (*Conn, error) {
	done, err := d.cfg.Budget.dial(ctx, id, port{e.path + string(id), e.addrPort()})
	if err != nil {
		return nil, err
	}
	raw, err := d.cfg.DialNode(ctx, id, e.ma)
	var c *Conn
	if err == nil {
		c, err = d.secure(ctx, id, raw, e)
	}
	done(err)
	return c, err
}

// plain gives the context's error back where a package below put its own words in its place.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ErrWrongPeer) {
		return ctx.Err()
	}
	// "dial tcp 192.0.2.1:1: connect: connection refused": the address stands in the Attempt already.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op.Err
	}
	return err
}

// connectQUIC opens a stream on a connection that stands, or on a new one. Of several callers that need a new one,
// one dials and the others take their streams from it.
func (d *Dialer) connectQUIC(ctx context.Context, id peer.ID, e endpoint) (*Conn, error) {
	unlock, err := d.gates.lock(ctx, place{id, port{QUIC, e.addrPort()}})
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c := d.quic.stream(id); c != nil {
		return c, nil
	}
	done, err := d.cfg.Budget.dial(ctx, id, port{e.path, e.addrPort()})
	if err != nil {
		return nil, err
	}
	c, err := d.quic.dial(ctx, d.cfg.Identity, id, e, d.cfg.Warm)
	if err != nil {
		err = plain(ctx, err)
	}
	done(err)
	return c, err
}
