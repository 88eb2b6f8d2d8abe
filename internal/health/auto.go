package health

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cellnode/cellnode/internal/stall"
)

// maxSilences is how often a service may leave the HTTP/2 preface unanswered before it is checked as tcp, and askAgain the
// number of checks from then on of which one asks it again: it may have been loading still.
const (
	maxSilences = 3
	askAgain    = 10
)

// preface opens an HTTP/2 connection (RFC 9113 section 3.4): the client's magic and an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// autoCheck finds out whether the service speaks HTTP/2, and checks it as grpc or tcp accordingly.
type autoCheck struct {
	dial     Dial
	half     time.Duration // of a check's timeout: how long to wait for an answer to the preface
	grpc     grpcCheck
	expected bool // gRPC: silence is not well yet
	speech   speech
	silences int
	rest     int // checks until one that is mute is asked again
}

type speech uint8

const (
	unheard speech = iota
	mute           // no word of an answer: checked as tcp, and asked again
	http2
	other
)

func (c *autoCheck) Check(ctx context.Context) error {
	if err := c.hear(ctx); err != nil {
		c.speech, c.silences, c.rest = unheard, 0, 0
		return err
	}
	if c.speech == http2 || c.speech == unheard && c.expected {
		return c.grpc.Check(ctx)
	}
	return nil // it accepted the connection, which is all that tcp asks for
}

// hear asks how the service speaks, if that is open, and if not is the check of one that does not speak HTTP/2. An error says
// that there is no connection.
func (c *autoCheck) hear(ctx context.Context) error {
	switch {
	case c.speech == http2:
		return nil
	case c.speech == other:
		return tcpCheck{dial: c.dial}.Check(ctx)
	case c.rest > 0:
		c.rest--
		return tcpCheck{dial: c.dial}.Check(ctx)
	}
	return c.listen(ctx)
}

func (c *autoCheck) Close() error { return c.grpc.Close() }

// listen sends the preface and judges the answer. An error says that there is no connection; silence is none.
func (c *autoCheck) listen(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer conn.Close()
	// Half of the time, so that a first grpc check fits in behind a slow answer, and silence is not taken for failure.
	patience, cancel := stall.WithTimeout(ctx, c.half)
	defer cancel()
	stop := context.AfterFunc(patience, func() { conn.Close() })
	defer stop()
	var header [9]byte // of a frame: length (3 bytes), type, flags, stream
	var n int
	if _, err := io.WriteString(conn, preface); err == nil {
		n, _ = io.ReadFull(conn, header[:]) // how much came says it all
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case n == len(header) && header[3] == 4 && header[4] == 0 && header[5]|header[6]|header[7]|header[8] == 0:
		c.speech = http2
	case n > 0:
		c.speech = other
	case patience.Err() != nil:
		c.silences++
		c.speech = unheard
		if c.silences >= maxSilences && !c.expected {
			c.speech, c.rest = mute, askAgain-1
		}
	default: // closed: by what speaks otherwise, as TLS, or by a proxy whose service is not there yet
		c.speech, c.rest = mute, askAgain-1
	}
	return nil
}
