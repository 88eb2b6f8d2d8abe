package overlay

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// BenchmarkWarmFind asks a running node for a cell that it follows: by a call in its process, and by its HTTP API on a
// Unix socket. The figures are in docs/benchmarks.md.
func BenchmarkWarmFind(b *testing.B) {
	for _, size := range []int{3, 64, 512} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := newNode(b)
			var seeds []manifest.Seed
			for _, s := range fakeCell(b, size) {
				seeds = append(seeds, manifest.Seed{Peer: s.Peer, Addrs: s.Addrs})
			}
			tr, done, err := n.Track(find.Request{Cell: exchange}, seeds, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer done()
			await(b, tr, "all are known", time.Minute, func(list []find.Instance) bool { return len(list) == size })
			b.Run("library", func(b *testing.B) { warmCall(b, n, size) })
			b.Run("api", func(b *testing.B) { warmAPI(b, n, size) })
		})
	}
}

func warmCall(b *testing.B, n *Node, size int) {
	for b.Loop() {
		t, done, err := n.Track(find.Request{Cell: exchange}, nil, nil)
		if err != nil || len(t.Snapshot().Instances) != size {
			b.Fatal(err)
		}
		done()
	}
}

func warmAPI(b *testing.B, n *Node, size int) {
	path := filepath.Join(b.TempDir(), "node.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	s := daemon.Serve(l, daemon.ServerConfig{Node: n.API()})
	defer s.Close()
	c := daemon.NewClient(path)
	defer c.Close()
	q := daemon.Query{Repository: exchange.URL(), Tag: exchange.Tag}
	for b.Loop() {
		if r, err := c.Find(b.Context(), q); err != nil || len(r.Instances) != size {
			b.Fatal(err)
		}
	}
}

// fakeCell starts instances that answer clients on TCP and do no more: hundreds of nodes do not fit one machine.
func fakeCell(b *testing.B, size int) []*record.Signed {
	b.Helper()
	var all []*record.Signed
	for range size {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		tcp, err := manet.FromNetAddr(l.Addr())
		if err != nil {
			b.Fatal(err)
		}
		key, now := newKey(b), time.Now()
		rec, err := record.Sign(key, record.Instance{
			Cell: exchange.ID(), Incarnation: 1, State: record.Serving, Issued: now, Expires: now.Add(time.Hour),
			Addrs: []ma.Multiaddr{tcp.Encapsulate(ma.StringCast("/tls"))},
		})
		if err != nil {
			b.Fatal(err)
		}
		id, err := link.NewIdentity(key)
		if err != nil {
			b.Fatal(err)
		}
		s, err := link.NewServer(link.ServerConfig{Identity: id, Handler: fakeInstance{rec}})
		if err != nil {
			b.Fatal(err)
		}
		s.ServeTCP(l)
		b.Cleanup(func() { s.Close() })
		all = append(all, rec)
	}
	return all
}

// fakeInstance answers with its record and names nobody else.
type fakeInstance struct{ *record.Signed }

func (f fakeInstance) Welcome(link.Hello, peer.ID) link.Welcome {
	return link.Welcome{Code: link.CodeOK, State: record.Serving, Incarnation: f.Incarnation, Record: f.Envelope}
}

func (f fakeInstance) Entrust(cid.Cid, []byte) error { return nil }

func (f fakeInstance) Interface(cid.Cid) []byte { return nil }

func (f fakeInstance) Open(context.Context, link.Hello, net.Conn) {}

func (f fakeInstance) List(context.Context, link.Hello) (link.List, error) {
	return link.List{Full: true, Members: []link.Member{{Record: f.Signed}}}, nil
}

func (f fakeInstance) Watch(ctx context.Context, _ link.Hello, send func(link.List) error) error {
	if err := send(link.List{Full: true, Members: []link.Member{{Record: f.Signed}}}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}
