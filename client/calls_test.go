package client

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
)

func TestWatchSeesACrashAndANewcomer(t *testing.T) {
	a := serve(t, "a")
	b := serve(t, "b", a)
	c := newClient(t, Config{Dir: consumer(t, a.seed())})
	await(t, c, "both, one of them from the other's list", lists(a, b))
	d := serve(t, "d", b)
	f := await(t, c, "the newcomer", lists(a, b, d))
	at := slices.IndexFunc(f.Instances, func(i find.Instance) bool { return i.Peer == d.Node.ID() })
	if !slices.Contains(f.Instances[at].Sources, find.List) {
		t.Errorf("the newcomer comes from %v", f.Instances[at].Sources)
	}
	a.Close() // without a goodbye
	await(t, c, "the crash", lists(b, d))
	if err := d.Instance.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	await(t, c, "the goodbye", lists(b))
}

func TestWatchEndsWithItsCallback(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, dead(t))})
	enough := errors.New("enough")
	if err := c.Watch(within(t), "exchange", func(Found) error { return enough }); err != enough {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Watch(ctx, "exchange", func(Found) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDialPeerReachesThatInstanceOrNone(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...)})
	for name, i := range map[string]*instance{"a": a, "b": b} {
		conn, err := c.DialPeer(within(t), "exchange", i.Node.ID().String())
		if got := hear(t, conn, err); got != name {
			t.Errorf("reached %q in place of %q", got, name)
		}
	}
	if _, err := c.DialPeer(within(t), "exchange", "12D3"); err == nil {
		t.Error("dialled something that is no peer ID")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	missing := dead(t).Peer.String()
	if _, err := c.DialPeer(ctx, "exchange", missing); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), missing) {
		t.Errorf("one that is not there: %v", err)
	}
	a.Close()
	ctx, cancel = context.WithTimeout(t.Context(), time.Second) // it is silent over UDP
	defer cancel()
	if conn, err := c.DialPeer(ctx, "exchange", a.Node.ID().String()); err == nil {
		t.Error("dialled a dead instance")
		conn.Close()
	}
	await(t, c, "its failure is noticed", lists(b))
}

func TestDrainingInstanceTakesNoCallsAndIsListedLast(t *testing.T) {
	a := serve(t, "a")
	b := serve(t, "b", a)
	c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...)})
	await(t, c, "both", lists(a, b))
	if err := a.SetState(record.Draining); err != nil {
		t.Fatal(err)
	}
	await(t, c, "draining", func(l []find.Instance) bool { return len(l) == 2 && !l[1].Usable() && l[1].Peer == a.Node.ID() })
	conn, err := c.Dial(within(t), "exchange")
	if got := hear(t, conn, err); got != "b" {
		t.Errorf("reached %q", got)
	}
	pongs, err := c.Ping(within(t), "exchange")
	if err != nil || len(pongs) != 2 {
		t.Fatalf("%+v, %v", pongs, err)
	}
	for _, p := range pongs {
		want := record.Serving
		if p.Peer == a.Node.ID() {
			want = record.Draining
		}
		if p.Err != nil || p.RTT <= 0 || p.State != want {
			t.Errorf("got %+v", p)
		}
	}
}

// forwarder forwards a local port to the cell, and returns the port and what Forward returns.
func forwarder(t *testing.T, c *Client) (addr string, end context.CancelFunc, ended <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Forward(ctx, l, "exchange") }()
	t.Cleanup(cancel)
	return l.Addr().String(), cancel, done
}

func dialTCP(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.TCPConn)
}

func TestForwardCarriesHalfCloses(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serve(t, "a").seed())})
	addr, end, ended := forwarder(t, c)
	local := dialTCP(t, addr)
	if _, err := local.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	if err := local.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The instance answers what came before our end, and then ends itself.
	if got, err := io.ReadAll(local); err != nil || string(got) != "a\nrequest" {
		t.Errorf("got %q, %v", got, err)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("Forward: %v", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is still open")
	}
}

func TestForwardCarriesAborts(t *testing.T) {
	a := serve(t, "a")
	c := newClient(t, Config{Dir: consumer(t, a.seed())})
	addr, end, ended := forwarder(t, c)
	conns := []*net.TCPConn{dialTCP(t, addr), dialTCP(t, addr)}
	for _, local := range conns {
		if _, err := io.ReadFull(local, make([]byte, len("a\n"))); err != nil {
			t.Fatal(err)
		}
	}
	a.Close() // the instance breaks off: that must not look like an end
	for _, local := range conns {
		if n, err := local.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	await(t, c, "nobody is left", lists())
	// The reset may come before the dial has returned.
	if conn, err := net.Dial("tcp", addr); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("there is nobody to talk to")
		}
		conn.Close()
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("Forward: %v", err)
	}
}

func TestForwardEndsWhatItCarries(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serve(t, "a").seed())})
	addr, end, ended := forwarder(t, c)
	local := dialTCP(t, addr)
	if _, err := io.ReadFull(local, make([]byte, len("a\n"))); err != nil {
		t.Fatal(err)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("Forward: %v", err)
	}
	if n, err := local.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// exhausted is a listener that fails a few times, takes one connection, fails once more, and is closed.
type exhausted struct {
	net.Listener
	fails []bool
	conn  net.Conn
}

func (e *exhausted) Accept() (net.Conn, error) {
	if len(e.fails) == 0 {
		return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
	}
	fails := e.fails[0]
	e.fails = e.fails[1:]
	if fails {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return e.conn, nil
}

func (e *exhausted) Addr() net.Addr { return &net.TCPAddr{} }
func (e *exhausted) Close() error   { return nil }

func TestForwardOutlivesAListenerThatCannotAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log notes
		c := &Client{log: log.logger(), closed: true}
		local, far := net.Pipe()
		defer far.Close()
		fails := slices.Repeat([]bool{true}, 10)
		l, began := &exhausted{fails: append(fails, false, true), conn: local}, time.Now()
		if err := c.Forward(t.Context(), l, "exchange"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Forward: %v", err)
		}
		// 5, 10 … 640 ms, 1 s and 1 s, and after the connection 5 ms again.
		if took := time.Since(began); took != 3280*time.Millisecond {
			t.Errorf("it ended after %s", took)
		}
		if n := log.count("accept failed"); n != 11 {
			t.Errorf("said %d times", n)
		}
		if n := log.count("connection not forwarded"); n != 1 {
			t.Errorf("%d connections were taken", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		l, began = &exhausted{fails: slices.Repeat([]bool{true}, 100)}, time.Now()
		if err := c.Forward(ctx, l, "exchange"); err != nil || time.Since(began) != time.Minute {
			t.Errorf("Forward: %v after %s", err, time.Since(began))
		}
	})
}

func TestDefaultClientTakesOpenCellsOnlyIfTold(t *testing.T) {
	a := serve(t, "a")
	home := shortDir(t)
	t.Setenv("CELL_HOME", home)
	t.Chdir(consumer(t, a.seed()))
	t.Cleanup(func() {
		for _, made := range []func() (*Client, error){shared, sharedOpen} {
			if c, err := made(); err == nil {
				c.Close()
			}
		}
		shared, sharedOpen = once(Config{}), once(Config{AllowOpen: true}) // for the next run of this test in this process
	})
	conn, err := Dial(within(t), "exchange")
	if got := hear(t, conn, err); got != "a" {
		t.Errorf("reached %q", got)
	}
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Default(); again != c {
		t.Error("Default makes a new client each time")
	}
	byRepository := exchange.URL() + "@" + exchange.Tag
	var open *OpenError
	if _, err := Dial(within(t), byRepository); !errors.As(err, &open) {
		t.Errorf("an open cell: %v", err)
	}
	await(t, c, "known", lists(a))
	eventually(t, "the shared client has written its cache", func() bool { return len(cached(t, home)) == 1 })
	conn, err = Dial(within(t), byRepository, AllowOpen())
	if got := hear(t, conn, err); got != "a" {
		t.Errorf("reached %q", got)
	}
}
