package overlay

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
)

// BenchmarkWarmFind asks a running node for a cell that it follows: by a call in its process, and by its HTTP API on a
// Unix socket. The figures are in docs/benchmarks.md.
func BenchmarkWarmFind(b *testing.B) {
	entry := newNode(b)
	for range 3 {
		serveEcho(b, newNode(b, entry), "echo")
	}
	tr := track(b, entry)
	await(b, tr, "all are known", 20*time.Second, func(list []find.Instance) bool { return len(list) == 3 })
	b.Run("library", func(b *testing.B) {
		for b.Loop() {
			t, done, err := entry.Track(find.Request{Cell: exchange}, nil, nil)
			if err != nil || len(t.Snapshot().Instances) != 3 {
				b.Fatal(err)
			}
			done()
		}
	})
	b.Run("api", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "node.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		s := daemon.Serve(l, daemon.ServerConfig{Node: entry.API()})
		defer s.Close()
		c := daemon.NewClient(path)
		defer c.Close()
		q := daemon.Query{Repository: exchange.URL(), Tag: exchange.Tag}
		for b.Loop() {
			if r, err := c.Find(b.Context(), q); err != nil || len(r.Instances) != 3 {
				b.Fatal(err)
			}
		}
	})
}
