package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/choice"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

func TestOpenConnectionsCountSoThatTheNextGoesElsewhere(t *testing.T) {
	a := serve(t, "a")
	b := serve(t, "b", a)
	c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...)})
	await(t, c, "both", lists(a, b))
	got := map[string]int{}
	var open []net.Conn
	for range 40 {
		conn, err := c.Dial(within(t), "exchange")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	s, err := c.cell(within(t), "exchange")
	if err != nil {
		t.Fatal(err)
	}
	inFlight := 0
	for _, i := range s.refresh() {
		inFlight += i.InFlight()
		if i.InFlight() < 2 {
			t.Errorf("an instance carries %d of 40 connections", i.InFlight())
		}
	}
	if inFlight != 40 {
		t.Errorf("%d in flight", inFlight)
	}
	for n, conn := range open {
		if n == 0 {
			conn.(interface{ Reset() error }).Reset()
			continue
		}
		got[hear(t, conn, nil)]++ // and closes it
	}
	for _, i := range s.refresh() {
		if i.InFlight() != 0 {
			t.Errorf("%d in flight after all are closed", i.InFlight())
		}
	}
	if len(got) != 2 {
		t.Errorf("reached %v", got)
	}
}

func TestChoiceOfACellWithoutInstancesSaysWhyAndGoesOn(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, dead(t))})
	x, err := c.Choice(within(t), "exchange")
	if err != nil {
		t.Fatal(err)
	}
	var none *NoneError
	if kept, _, err := x.Next(within(t), 0); !errors.As(err, &none) {
		t.Errorf("got %v, %v", kept, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := x.Next(ctx, 0); err == nil {
		t.Error("a context that has ended is waited with")
	}
	if _, err := c.Choice(within(t), "no-such-cell"); err == nil {
		t.Error("a cell that nobody knows has a choice")
	}
	c.Close()
	if _, _, err := x.Next(within(t), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// crowd is a cell of many instances without a network.
type crowd struct {
	ids       []peer.ID
	envelopes map[peer.ID][]byte
}

func newCrowd(t *testing.T, n int) *crowd {
	c := &crowd{envelopes: map[peer.ID][]byte{}}
	now := time.Now()
	for i := range n {
		rec, err := record.Sign(newKey(t), record.Instance{
			Cell: exchange.ID(), Incarnation: 1, State: record.Serving, Commit: commit, Issued: now, Expires: now.Add(time.Hour),
			Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/198.51.%d.%d/udp/40000/quic-v1", i/250, i%250))},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.ids = append(c.ids, rec.Peer)
		c.envelopes[rec.Peer] = rec.Envelope
	}
	return c
}

// way names everybody, each with a record that is read anew, as from the network.
func (c *crowd) way(_ context.Context, sink find.Sink) error {
	for _, id := range c.ids {
		rec, err := record.Verify(c.envelopes[id], exchange.ID(), time.Now())
		if err != nil {
			return err
		}
		sink.Found(find.Candidate{Peer: id, Addrs: rec.Addrs, Record: rec, Way: find.List})
	}
	return nil
}

func (c *crowd) Probe(_ context.Context, to link.Target, _ link.Hello) (link.Probe, error) {
	return link.Probe{RTT: time.Duration(to.Peer[len(to.Peer)-1]) * time.Millisecond, Path: link.QUIC, Welcome: link.Welcome{
		Code: link.CodeOK, State: record.Serving, Commit: commit, Incarnation: 1, Record: c.envelopes[to.Peer],
	}}, nil
}

func (c *crowd) Open(context.Context, link.Target, link.Hello) (*link.Conn, error) {
	return nil, io.ErrUnexpectedEOF
}

func (c *crowd) Interface(context.Context, link.Target, link.Hello) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

func (c *crowd) List(context.Context, link.Target, link.Hello) (link.List, error) {
	return link.List{}, io.ErrUnexpectedEOF
}

func (c *crowd) Watch(ctx context.Context, _ link.Target, _ link.Hello, each func(link.List)) error {
	each(link.List{Full: true})
	<-ctx.Done()
	return ctx.Err()
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestACellOfTenThousandKeepsAClientSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 signatures")
	}
	all := newCrowd(t, 10_000)
	before := heap()
	s := &cell{chooser: newChooser(), ended: make(chan struct{}), tracker: find.New(find.Config{
		Request: find.Request{Cell: exchange}, Dialer: all, Ways: []find.Way{{Name: find.List, Run: all.way}},
	})}
	defer s.tracker.Close()
	if _, err := s.tracker.Settle(within(t)); err != nil {
		t.Fatal(err)
	}
	kept := s.refresh()
	if len(kept) != choice.MaxKept {
		t.Errorf("%d are kept", len(kept))
	}
	grown := heap() - before
	t.Logf("%d kB", grown>>10)
	if grown > 5<<20 {
		t.Errorf("the client has grown by %d bytes", grown)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(all)
}
