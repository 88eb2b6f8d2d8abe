package overlay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

var (
	exchange = manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}
	loopback = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls")}
)

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newNode starts a node on loopback that knows the given ones.
func newNode(t testing.TB, known ...*Node) *Node {
	t.Helper()
	return newNodeOn(t, loopback, known...)
}

func newNodeOn(t testing.TB, listen []ma.Multiaddr, known ...*Node) *Node {
	t.Helper()
	cfg := Config{Key: newKey(t), Listen: listen}
	if os.Getenv("CELL_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, n := range known {
		cfg.Bootstrap = append(cfg.Bootstrap, peer.AddrInfo{ID: n.ID(), Addrs: n.Host().Addrs()})
	}
	n, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// serveEcho serves an instance that says its name and then echoes.
func serveEcho(t testing.TB, n *Node, name string) *Instance {
	t.Helper()
	i, err := n.Serve(t.Context(), Service{Cell: exchange, Handle: func(_ context.Context, c net.Conn) {
		defer c.Close()
		if _, err := fmt.Fprintln(c, name); err != nil {
			return
		}
		io.Copy(c, c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func track(t testing.TB, n *Node, only ...string) *find.Tracker {
	t.Helper()
	tr, done, err := n.Track(find.Request{Cell: exchange}, nil, only)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	return tr
}

// await waits until a tracker's list is as wanted.
func await(t testing.TB, tr *find.Tracker, what string, limit time.Duration, want func([]find.Instance) bool) find.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s := tr.Snapshot()
	for !want(s.Instances) {
		var err error
		if s, err = tr.Next(ctx, s); err != nil {
			t.Fatalf("%s: not within %s; known: %+v, refused: %v, ways: %v", what, limit, s.Instances, s.Refused, s.Ways)
		}
	}
	return s
}

func has(n *Node) func([]find.Instance) bool {
	return func(list []find.Instance) bool {
		return slices.ContainsFunc(list, func(i find.Instance) bool { return i.Peer == n.ID() && i.Usable() })
	}
}

func not(want func([]find.Instance) bool) func([]find.Instance) bool {
	return func(list []find.Instance) bool { return !want(list) }
}

func TestInstanceIsFoundAndDialledByName(t *testing.T) {
	entry := newNode(t)
	server := newNode(t, entry)
	instance := serveEcho(t, server, "a")
	client := newNode(t, entry)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := instance.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	tr := track(t, client)
	c, i, err := tr.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if i.Peer != server.ID() || !slices.Contains(i.Sources, find.DHT) {
		t.Errorf("dialled %+v", i)
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("a\nping"))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte("a\nping")) {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestFirstNodeIsAloneAndTheSecondFindsIt(t *testing.T) {
	first := newNode(t)
	a := serveEcho(t, first, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := a.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if s := first.Status(); s.DHT.State != "alone" || !s.Instances[0].Announced.Alone {
		t.Errorf("status of the only node: %+v", s.Instances[0].Announced)
	}
	second := newNode(t, first)
	b := serveEcho(t, second, "b")
	if err := b.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{first, second} {
		tr := track(t, n)
		await(t, tr, "both are known", 10*time.Second, func(list []find.Instance) bool { return len(list) == 2 })
	}
}

func TestLeaverIsGoneEverywhereAtOnce(t *testing.T) {
	entry := newNode(t)
	stays, leaves := newNode(t, entry), newNode(t, entry)
	serveEcho(t, stays, "stays")
	i := serveEcho(t, leaves, "leaves")
	watching := []*find.Tracker{track(t, entry), track(t, stays)}
	for _, tr := range watching {
		await(t, tr, "both are known, and to each other", 10*time.Second, func(list []find.Instance) bool {
			return len(list) == 2 && !slices.ContainsFunc(list, func(i find.Instance) bool {
				return !slices.Contains(i.Sources, find.Gossip) && !slices.Contains(i.Sources, find.List)
			})
		})
	}
	if err := i.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tr := range watching { // a crash would take longer than this to be believed
		await(t, tr, "gone", 2*time.Second, not(has(leaves)))
	}
}

func TestUnhealthyInstanceTakesNoNewCalls(t *testing.T) {
	entry := newNode(t)
	ill, well := newNode(t, entry), newNode(t, entry)
	i := serveEcho(t, ill, "ill")
	serveEcho(t, well, "well")
	tr := track(t, entry)
	await(t, tr, "both serve", 10*time.Second, func(list []find.Instance) bool { return has(ill)(list) && has(well)(list) })
	if err := i.SetState(record.Unhealthy); err != nil {
		t.Fatal(err)
	}
	await(t, tr, "unhealthy", 5*time.Second, not(has(ill)))
	for range 5 {
		c, at, err := tr.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if at.Peer != well.ID() {
			t.Error("an unhealthy instance was dialled")
		}
	}
}

func TestOneCellIsServedOnceByANode(t *testing.T) {
	n := newNode(t)
	serveEcho(t, n, "a")
	if _, err := n.Serve(t.Context(), Service{Cell: exchange}); err == nil {
		t.Error("served twice")
	}
}

func TestListenerHandsOutClients(t *testing.T) {
	server := newNode(t)
	l, err := server.Listen(t.Context(), Service{Cell: exchange})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.WriteString(c, "hello")
			err = errors.Join(err, c.Close())
		}
		accepted <- err
	}()
	tr := track(t, newNode(t, server))
	c, _, err := tr.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("accepted after Close")
	}
}
