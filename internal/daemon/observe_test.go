package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
)

// observed is a node with an instance that is drained, asked and connected to.
type observed struct {
	Node
	ready  bool
	events []Event
	remote net.Conn // what Connect and Stream hand out
	asked  Query
	stream string // what Stream was asked for
}

func (o *observed) Status() Status {
	return Status{Instances: []CellStatus{{Cell: "a@v1", Ready: o.ready}}}
}

func (o *observed) Peers() Peers { return Peers{Peer: "me", Cells: []CellPeers{{Cell: "a@v1"}}} }

func (o *observed) Events(ctx context.Context, from uint64, follow bool, send func(Event) error) error {
	for _, e := range o.events {
		if e.Seq >= from {
			if err := send(e); err != nil {
				return err
			}
		}
	}
	if follow {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (o *observed) Drain(d Drain) (Drained, error) {
	if d.Cell != "a@v1" {
		return Drained{}, &Error{Message: "not served", Code: 1}
	}
	return Drained{Cells: []string{d.Cell}}, nil
}

func (o *observed) Connect(_ context.Context, q Query) (net.Conn, Instance, error) {
	o.asked = q
	if o.remote == nil {
		return nil, Instance{}, &Error{Message: "none lives", Code: 1}
	}
	return o.remote, Instance{Peer: "far"}, nil
}

func (o *observed) Stream(_ context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	o.stream = id.String() + " at " + circuit.String()
	if o.remote == nil {
		return nil, errors.New("no hole")
	}
	return o.remote, nil
}

func TestEventsComeFromANumberOnAndAreFollowed(t *testing.T) {
	_, c := serve(t, ServerConfig{Node: &observed{events: []Event{{Seq: 1, Kind: "joined"}, {Seq: 2, Kind: "dead"}, {Seq: 3, Kind: "left"}}}})
	kinds := func(from uint64, follow bool, until int) (list []string, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = c.Events(ctx, from, follow, func(e Event) error {
			if list = append(list, e.Kind); len(list) == until {
				cancel()
			}
			return nil
		})
		return list, err
	}
	if got, err := kinds(2, false, 0); err != nil || !slices.Equal(got, []string{"dead", "left"}) {
		t.Errorf("from 2: %v, %v", got, err)
	}
	if got, err := kinds(0, true, 3); !errors.Is(err, context.Canceled) || len(got) != 3 {
		t.Errorf("followed: %v, %v", got, err)
	}
}

func TestDrainAndItsRefusalAreCarriedAcross(t *testing.T) {
	_, c := serve(t, ServerConfig{Node: &observed{}})
	if done, err := c.Drain(t.Context(), Drain{Cell: "a@v1"}); err != nil || len(done.Cells) != 1 {
		t.Errorf("%v, %v", done, err)
	}
	var e *Error
	if _, err := c.Drain(t.Context(), Drain{Cell: "b@v1"}); !errors.As(err, &e) || e.Code != 1 {
		t.Errorf("another cell: %v", err)
	}
}

func TestHealthIsReadiness(t *testing.T) {
	n := &observed{}
	_, c := serve(t, ServerConfig{Node: n})
	for _, ready := range []bool{false, true} {
		n.ready = ready
		resp, err := c.http.Get("http://cellnode/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if (resp.StatusCode == http.StatusOK) != ready {
			t.Errorf("ready %v: %s", ready, resp.Status)
		}
	}
}

func TestConnectJoinsTheAskerToTheInstance(t *testing.T) {
	near, far := net.Pipe()
	n := &observed{remote: near}
	s, c := serve(t, ServerConfig{Node: n})
	cell, err := manifest.ParseCell("git.example.org/acme/exchange@v1")
	if err != nil {
		t.Fatal(err)
	}
	conn, peer, err := c.Connect(t.Context(), cell)
	if err != nil || peer != "far" || n.asked.Tag != "v1" {
		t.Fatalf("%q asked %+v: %v", peer, n.asked, err)
	}
	defer conn.Close()
	go io.Copy(far, far)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello" {
		t.Errorf("%q, %v", answer, err)
	}
	s.Close() // ends it too, though the server does not know the connection any more
	if _, err := conn.Read(answer); err == nil {
		t.Error("the connection outlives the node")
	}

	n.remote = nil
	_, c = serve(t, ServerConfig{Node: n})
	var e *Error
	if _, _, err := c.Connect(t.Context(), cell); !errors.As(err, &e) || e.Code != 1 || !strings.Contains(e.Message, "none lives") {
		t.Errorf("without an instance: %v", err)
	}
	resp, err := c.http.Do(&http.Request{Method: http.MethodConnect, URL: mustURL(t, "http://cellnode/v1/connect?cell=nothing"), Host: "cellnode"})
	if err == nil {
		defer resp.Body.Close()
	}
	if err == nil && resp.StatusCode == http.StatusOK {
		t.Error("a cell without a tag is connected to")
	}
}

func TestAStreamIsPassedOn(t *testing.T) {
	id, err := peer.Decode("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
	if err != nil {
		t.Fatal(err)
	}
	circuit := ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + id.String() + "/p2p-circuit")
	near, far := net.Pipe()
	n := &observed{remote: near}
	_, c := serve(t, ServerConfig{Node: n})
	conn, err := c.Stream(t.Context(), id, circuit)
	if err != nil || n.stream != id.String()+" at "+circuit.String() {
		t.Fatalf("asked for %q: %v", n.stream, err)
	}
	defer conn.Close()
	go io.WriteString(far, "hello")
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello" {
		t.Errorf("%q, %v", answer, err)
	}
	n.remote = nil
	var e *Error
	if _, err := c.Stream(t.Context(), id, circuit); !errors.As(err, &e) || e.Code != codeUnreachable || !strings.Contains(e.Message, "no hole") {
		t.Errorf("without a path: %v", err)
	}
}

func TestAServerKnowsWhenNobodyAsks(t *testing.T) {
	n := &observed{events: []Event{{Seq: 1}}}
	s, c := serve(t, ServerConfig{Node: n})
	following, stop := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Events(following, 0, true, func(Event) error { close(begun); return nil })
	}()
	<-begun
	const idle = 50 * time.Millisecond
	busy, cancel := context.WithTimeout(t.Context(), 4*idle)
	defer cancel()
	if err := s.AwaitIdle(busy, idle); err == nil {
		t.Error("idle while somebody follows its events")
	}
	stop()
	<-ended
	if err := s.AwaitIdle(t.Context(), idle); err != nil {
		t.Error(err)
	}
}
