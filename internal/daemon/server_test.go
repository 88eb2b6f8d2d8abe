package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAConnectionThatFailsTheCheckGetsNoAnswer(t *testing.T) {
	var checks atomic.Int32
	var log strings.Builder
	_, c := serve(t, ServerConfig{
		Node: fakeNode{status: func() Status { return Status{Peer: "p"} }},
		Check: func(conn net.Conn) error {
			if _, ok := conn.(*net.UnixConn); !ok {
				t.Errorf("the check is given a %T", conn)
			}
			if checks.Add(1) == 1 {
				return errors.New("the other end is user 1000")
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if s, err := c.Status(t.Context()); err == nil {
		t.Errorf("the first connection is refused, and yet it says %+v", s)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Peer != "p" {
		t.Errorf("the next connection is good: %+v, %v", s, err)
	}
	if text := log.String(); strings.Count(text, "user 1000") != 1 {
		t.Errorf("log %q", text)
	}
}

func TestCloseReturnsWhenTheNodeIsNoLongerCalled(t *testing.T) {
	inside, left := make(chan struct{}), atomic.Bool{}
	s, c := serve(t, ServerConfig{Node: fakeNode{find: func(ctx context.Context, _ Query) (Reply, error) {
		close(inside)
		<-ctx.Done()
		left.Store(true)
		return Reply{}, ctx.Err()
	}}})
	answered := make(chan error, 1)
	go func() {
		_, err := c.Find(context.Background(), Query{})
		answered <- err
	}()
	<-inside
	if err := s.Close(); err != nil || !left.Load() {
		t.Errorf("Close: %v; the node has been left: %v", err, left.Load())
	}
	if err := <-answered; err == nil {
		t.Error("the find was answered")
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := os.Stat(c.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
