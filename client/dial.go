package client

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/choice"
)

// Dial opens a connection to a live instance of a cell: mostly the nearest, unless more of our calls wait there than
// elsewhere or it answers slower. Where none can be found it returns a *NoneError, which says what each way of finding
// answered.
func (c *Client) Dial(ctx context.Context, name string) (net.Conn, error) {
	s, err := c.cellFor(ctx, name, true)
	if err != nil {
		return nil, err
	}
	return s.dial(ctx)
}

// dial asks one instance after the other, each once and as many as are kept, and then leaves it to the Tracker, which waits
// for the first, or for one that comes back, and knows what to say if none does. A choice.Tried would forget the first of
// many that answer probes and take no calls, and begin again.
func (s *cell) dial(ctx context.Context) (net.Conn, error) {
	var tried []string
	for ctx.Err() == nil && len(tried) < choice.MaxKept {
		kept := s.refresh()
		left := slices.DeleteFunc(slices.Clone(kept), func(i *choice.Instance) bool { return slices.Contains(tried, i.ID) })
		i := choice.Best(left, choice.Stream, nil, time.Now())
		if i == nil {
			break
		}
		tried = append(tried, i.ID)
		conn, err := s.dialOne(ctx, i, len(kept) > 1)
		if err == nil {
			return conn, nil
		}
	}
	conn, at, err := s.tracker.Dial(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range s.refresh() {
		if i.ID == string(at.Peer) {
			i.Begin()
			return counted(conn, i), nil
		}
	}
	return conn, nil
}

// pick returns the instance that a call goes to, and begins the call. Where none is known it waits for one, or returns a
// *NoneError when none can be found.
func (s *cell) pick(ctx context.Context, k choice.Kind, tried *choice.Tried) (*choice.Instance, error) {
	for {
		if i := choice.Best(s.refresh(), k, tried, time.Now()); i != nil {
			i.Begin()
			return i, nil
		}
		if _, err := s.tracker.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// dialOne opens a connection that counts as a call in flight until it is closed.
func (s *cell) dialOne(ctx context.Context, i *choice.Instance, others bool) (net.Conn, error) {
	began := time.Now()
	i.Begin()
	i.Await(began)
	conn, err := s.open(ctx, i, others)
	i.Heard()
	now := time.Now()
	switch {
	case err == nil:
		i.Learn(choice.Stream, choice.Answered, now.Sub(began), now)
		return counted(conn, i), nil
	case ctx.Err() != nil:
		i.Learn(choice.Stream, choice.Ended, now.Sub(began), now)
	default:
		i.Learn(choice.Stream, choice.Failed, now.Sub(began), now)
	}
	i.End()
	return nil, err
}

// stream is what a Tracker opens over cell/1.
type stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// countedStream is in flight until it is closed.
type countedStream struct {
	stream
	end func()
}

// Close closes the connection.
func (s *countedStream) Close() error {
	s.end()
	return s.stream.Close()
}

// Reset closes it so that the far side reads an error.
func (s *countedStream) Reset() error {
	s.end()
	return s.stream.Reset()
}

// counted counts the call off when the connection is closed. The socket of a service on this machine is handed out as it is,
// so that the kernel can move its bytes; it counts only while it is opened.
func counted(conn net.Conn, i *choice.Instance) net.Conn {
	s, ok := conn.(stream)
	if !ok {
		i.End()
		return conn
	}
	return &countedStream{s, sync.OnceFunc(i.End)}
}
