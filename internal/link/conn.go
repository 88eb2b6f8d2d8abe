package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Conn is one stream of cell/1 as a net.Conn, at a client behind the Welcome, at an instance behind the Hello. All
// methods may be called from several goroutines. What was written is not complete when a Write has failed, were it
// for a deadline, or is under way at Close: the other end sees an abort then.
type Conn struct {
	stream
	path    string
	peer    peer.ID
	addr    ma.Multiaddr
	welcome Welcome

	pooled *quicConn // at a client over QUIC
	fresh  bool      // the first stream of a connection that was dialled for it
	hellos int       // asked by this client so far

	prepared Prepared // at an instance, between Welcome and serving
}

var _ net.Conn = (*Conn)(nil)

// Path returns TCP, QUIC or LIBP2P.
func (c *Conn) Path() string { return c.path }

// Peer returns who is at the other end, as its certificate proves.
func (c *Conn) Peer() peer.ID { return c.peer }

// Addr returns the address of the Target that was dialled; nil at an instance.
func (c *Conn) Addr() ma.Multiaddr { return c.addr }

// Welcome returns the instance's answer; at an instance, the one that was given.
func (c *Conn) Welcome() Welcome { return c.welcome }

// CloseWrite ends the direction from here: the other end reads io.EOF behind what was written. Reading goes on.
func (c *Conn) CloseWrite() error { return c.stream.CloseWrite() }

// Reset ends both directions at once, and the other end sees an abort (see the package comment). After Close it
// does nothing.
func (c *Conn) Reset() error { return c.stream.Reset() }

// bound lets ctx and a time limit, whichever ends sooner, end the reads and writes that follow. The function that
// it returns lifts the bound, and reports the context's error if that came first: then c is of no more use.
func (c *Conn) bound(ctx context.Context, limit time.Duration) (lift func() error) {
	deadline := time.Now().Add(limit)
	c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return c.SetDeadline(time.Time{})
	}
}

// ask sends a Hello and returns the Welcome and the time between them.
func (c *Conn) ask(ctx context.Context, h Hello, limit time.Duration) (Welcome, time.Duration, error) {
	pb, err := h.proto()
	if err != nil {
		return Welcome{}, 0, err
	}
	c.hellos++
	start := time.Now()
	lift := c.bound(ctx, limit)
	w, err := c.exchange(func() error { return writeFrame(c, pb, maxFrame) })
	rtt := time.Since(start)
	if ctxErr := lift(); ctxErr != nil {
		return Welcome{}, 0, ctxErr
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w (%s)", ErrPreface, limit)
	}
	if err != nil {
		return Welcome{}, 0, err
	}
	return w, rtt, nil
}

func (c *Conn) exchange(hello func() error) (Welcome, error) {
	if err := hello(); err != nil {
		return Welcome{}, err
	}
	frame, err := readFrame(c, maxFrame)
	if err != nil {
		return Welcome{}, unexpected(err)
	}
	return parseWelcome(frame)
}

// discard closes a stream that lost a race, and with it the QUIC connection that was dialled for it alone.
func (c *Conn) discard() {
	if c.fresh {
		c.pooled.retire()
		c.pooled.keep.Store(0)
	}
	c.Close()
}
