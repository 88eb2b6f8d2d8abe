package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// news is a fakeNode's Watch that sends what comes over the channel, and ends when that is closed.
func news(ch <-chan Reply) func(context.Context, Query, func(Reply) error) error {
	return func(ctx context.Context, _ Query, send func(Reply) error) error {
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case r, more := <-ch:
				if !more {
					return io.EOF
				}
				if err := send(r); err != nil {
					return err
				}
			}
		}
	}
}

func TestAWatchSendsALineForEachReplyAtOnce(t *testing.T) {
	ch := make(chan Reply)
	_, c := serve(t, ServerConfig{Node: fakeNode{watch: news(ch)}})
	go func() { ch <- Reply{Cell: "first"} }()
	resp, err := c.http.Post("http://cellnode/v1/watch", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Errorf("Content-Type is %s", kind)
	}
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"first", "second"} {
		if want != "first" {
			ch <- Reply{Cell: want} // only now: the one before did not wait for it
		}
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"cell":"`+want+`"`) {
			t.Fatalf("line %q, %v", line, err)
		}
	}
}

func TestAWatchEndsWhenTheNodeGoes(t *testing.T) {
	for _, how := range []string{"the server closes", "the node ends it"} {
		t.Run(how, func(t *testing.T) {
			ch := make(chan Reply, 1)
			ch <- Reply{}
			s, c := serve(t, ServerConfig{Node: fakeNode{watch: news(ch)}})
			err := c.Watch(t.Context(), Query{}, func(Reply) error {
				if how == "the node ends it" {
					close(ch)
					return nil
				}
				return s.Close()
			})
			if err == nil || !strings.Contains(err.Error(), c.socket) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line that names the node", err)
			}
		})
	}
}

func TestAWatchEndsWhenTheAskerGoes(t *testing.T) {
	ended := make(chan error, 1)
	_, c := serve(t, ServerConfig{Node: fakeNode{watch: func(ctx context.Context, _ Query, send func(Reply) error) error {
		err := send(Reply{})
		<-ctx.Done()
		ended <- err
		return ctx.Err()
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Watch(ctx, Query{}, func(Reply) error { cancel(); return nil })
	if err != context.Canceled {
		t.Errorf("error %v", err)
	}
	enough := errors.New("enough")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.Watch(t.Context(), Query{}, func(Reply) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v, want the one of each", err)
	}
	<-ended
}

func TestASlowReaderHoldsUpNobody(t *testing.T) {
	stuck := make(chan struct{})
	blocked := make(chan error, 1)
	s, c := serve(t, ServerConfig{Node: fakeNode{
		status: func() Status { return Status{Peer: "p"} },
		watch: func(_ context.Context, _ Query, send func(Reply) error) error {
			page := Reply{Cell: strings.Repeat("x", 1<<20)}
			var err error
			for n := 0; err == nil; n++ {
				if n == 1 {
					close(stuck) // more than a socket holds is on its way
				}
				err = send(page)
			}
			blocked <- err
			return err
		},
	}})
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /v1/watch HTTP/1.1\r\nHost: cellnode\r\nContent-Length: 2\r\n\r\n{}")
	buf := make([]byte, 2<<20)
	if _, err := io.ReadFull(conn, buf[:1<<20]); err != nil { // and nothing after that
		t.Fatal(err)
	}
	<-stuck
	if s, err := c.Status(t.Context()); err != nil || s.Peer != "p" {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-blocked; err == nil {
		t.Error("the watch went on after Close")
	}
}

func TestAReaderThatReadsNothingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &oneConn{conns: make(chan net.Conn, 1)}
		asker, end := net.Pipe() // holds nothing back: every byte must be read
		l.conns <- end
		ended := make(chan error, 1)
		s := Serve(l, ServerConfig{Node: fakeNode{watch: func(_ context.Context, _ Query, send func(Reply) error) error {
			err := send(Reply{})
			ended <- err
			return err
		}}})
		defer s.Close()
		start := time.Now()
		fmt.Fprint(asker, "POST /v1/watch HTTP/1.1\r\nHost: cellnode\r\nContent-Length: 2\r\n\r\n{}")
		if err := <-ended; err == nil || time.Since(start) != writeTimeout {
			t.Errorf("ended with %v after %v, want an error after %v", err, time.Since(start), writeTimeout)
		}
		asker.Close()
	})
}

// oneConn is a listener without a socket.
type oneConn struct{ conns chan net.Conn }

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }
func (l *oneConn) Close() error   { close(l.conns); return nil }
func (l *oneConn) Accept() (net.Conn, error) {
	if c, more := <-l.conns; more {
		return c, nil
	}
	return nil, http.ErrServerClosed
}
