// Package pipe joins two connections so that each is the other's far end: bytes, half-closes, backpressure and aborts.
package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// drain is how long, once writing to one side has failed, what that side sent before may still be passed on: a service
// that answers early and closes should be heard.
const drain = time.Second

// Join joins a and b until both directions have ended, and owns both: they are closed when it returns.
//
// The end of what one side sends becomes the end of what the other side receives (CloseWrite), while the other direction
// goes on; a connection that cannot half-close is closed whole. There is no buffer beyond one read, so a slow reader
// slows its writer, and no idle limit. Between TCP and Unix sockets the kernel moves the bytes (splice) on Linux.
//
// An error in either direction, or the end of ctx, aborts both sides: by Reset or CloseWithError where the connection
// offers one, with a TCP reset where there is TCP underneath, also beneath TLS. The far side thus sees an error and never
// a clean end after half of the bytes. A Unix socket has no reset: there the far side reads an end and fails to write.
//
// Join returns nil after two clean ends, and otherwise the first error.
func Join(ctx context.Context, a, b net.Conn) error {
	j := &joint{a: a, b: b}
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		j.abort(context.Cause(ctx))
	})
	var group sync.WaitGroup
	group.Go(func() { j.carry(b, a) })
	j.carry(a, b)
	group.Wait()
	if !stop() {
		<-aborted
	}
	return j.finish()
}

type joint struct {
	a, b net.Conn

	mu     sync.Mutex
	err    error       // the first one
	whole  bool        // a side that cannot half-close was closed
	timer  *time.Timer // ends the drain
	closed bool
}

// carry passes on what src sends until its end.
func (j *joint) carry(dst, src net.Conn) {
	readErr, writeErr := copyStream(dst, src)
	switch {
	case writeErr != nil:
		j.drain(fmt.Errorf("pipe: write: %w", writeErr), src)
	case readErr != nil && !j.endedWhole(readErr):
		j.abort(fmt.Errorf("pipe: read: %w", readErr))
	default:
		j.end(dst)
	}
}

// end tells dst that no more comes, unless something was lost before.
func (j *joint) end(dst net.Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		j.abortLocked()
		return
	}
	half, ok := dst.(interface{ CloseWrite() error })
	if !ok {
		j.whole = true
		dst.Close()
		return
	}
	// An error here is no news: the other end is gone, and the other direction says how.
	_ = half.CloseWrite()
}

// endedWhole says whether a read failed only because end had to close that side whole.
func (j *joint) endedWhole(err error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.whole && j.err == nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe))
}

// drain gives up reading from src and lets the other direction run a little longer.
func (j *joint) drain(err error, src net.Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		j.abortLocked() // now both directions are through
		return
	}
	j.err = err
	if half, ok := src.(interface{ CloseRead() error }); ok {
		_ = half.CloseRead()
	}
	j.timer = time.AfterFunc(drain, func() { j.abort(err) })
}

// abort ends both directions now; the first error of all is the one that counts.
func (j *joint) abort(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
	}
	j.abortLocked()
}

func (j *joint) abortLocked() {
	if !j.closed {
		j.closed = true
		Abort(j.a, j.err)
		Abort(j.b, j.err)
	}
}

// finish closes both sides and returns what Pipe does.
func (j *joint) finish() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
	}
	if j.err != nil {
		j.abortLocked()
		return j.err
	}
	j.closed = true
	j.a.Close()
	j.b.Close()
	return nil
}
