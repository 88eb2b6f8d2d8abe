package client

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	os.Setenv("CELL_DAEMON", "off")
	goleak.VerifyTestMain(m)
}

// The cell of most tests lies in a repository that cannot be read, so that its name, lock and cache have to suffice.
var (
	exchange = manifest.Cell{Repository: "file:/nonexistent/cells/exchange", Tag: "v1.3.0"}
	commit   = strings.Repeat("c0", 20)
)

// limit is ample for anything that ought to happen at once.
const limit = 20 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// instance is a node on loopback that serves the cell.
type instance struct {
	*overlay.Node
	*overlay.Instance
}

func (i *instance) seed() manifest.Seed {
	return manifest.Seed{Peer: i.Node.ID(), Addrs: i.Instance.Record().Addrs}
}

func (i *instance) Close() error { return i.Node.Close() }

// serve starts an instance that says its name and then echoes, and that knows the given ones.
func serve(t testing.TB, name string, known ...*instance) *instance {
	t.Helper()
	return serveCell(t, exchange, name, known...)
}

func serveCell(t testing.TB, cell manifest.Cell, name string, known ...*instance) *instance {
	t.Helper()
	return serveWith(t, cell, echo(name), known...)
}

// serveWith starts an instance that handles connections in a way of its own.
func serveWith(t testing.TB, cell manifest.Cell, handle func(context.Context, net.Conn), known ...*instance) *instance {
	t.Helper()
	n := newNode(t)
	i, err := n.Serve(t.Context(), overlay.Service{Cell: cell, Commit: commit, Handle: handle})
	if err != nil {
		t.Fatal(err)
	}
	i.Meet(seeds(known...))
	return &instance{n, i}
}

// newNode is one that can serve, on loopback, without a DHT.
func newNode(t testing.TB) *overlay.Node {
	t.Helper()
	n, err := overlay.New(t.Context(), overlay.Config{Key: newKey(t), NoDHT: true, Listen: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// echo says a name, echoes until the client's end, and ends cleanly itself.
func echo(name string) func(context.Context, net.Conn) {
	return func(_ context.Context, c net.Conn) {
		defer c.Close()
		if _, err := fmt.Fprintln(c, name); err != nil {
			return
		}
		io.Copy(c, c)
	}
}

func seeds(instances ...*instance) []manifest.Seed {
	var list []manifest.Seed
	for _, i := range instances {
		list = append(list, i.seed())
	}
	return list
}

// dead returns a seed that nobody answers for.
func dead(t testing.TB) manifest.Seed {
	t.Helper()
	i := serve(t, "dead")
	s := i.seed()
	i.Close()
	return s
}

// consumer writes the files of a consumer of the cell, with these seeds in its lock, and returns their folder.
func consumer(t testing.TB, seeds ...manifest.Seed) string {
	t.Helper()
	dir := t.TempDir()
	writeCellFile(t, dir, "exchange")
	writeLock(t, dir, "exchange", exchange, seeds...)
	return dir
}

// writeCellFile writes a Cell.toml that gives the cell these names.
func writeCellFile(t testing.TB, dir string, names ...string) {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "[cell.%s]\ngit = %q\ntag = %q\n[cell.%s.policy]\nallow_open = true\n", name, exchange.URL(), exchange.Tag, name)
	}
	write(t, filepath.Join(dir, "Cell.toml"), b.String())
}

func writeLock(t testing.TB, dir, name string, cell manifest.Cell, seeds ...manifest.Seed) {
	t.Helper()
	lock := manifest.Lock{Cells: []manifest.LockedCell{{Name: name, Cell: cell, Git: exchange.URL(), Commit: commit, Seeds: seeds}}}
	data, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Cell.lock"), string(data))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newClient makes a client of a folder; an empty Home becomes a new one.
func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	if cfg.Home == "" {
		cfg.Home = shortDir(t)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// hear returns the name of the instance at the other end, once it has echoed something.
func hear(t testing.TB, c net.Conn, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	if _, err := c.Write([]byte("ping\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	name, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if back, err := r.ReadString('\n'); err != nil || back != "ping\n" {
		t.Fatalf("echoed %q, %v", back, err)
	}
	return strings.TrimSuffix(name, "\n")
}

// await watches the cell until its list is as wanted.
func await(t testing.TB, c *Client, what string, want func([]find.Instance) bool) Found {
	t.Helper()
	var last Found
	err := c.Watch(within(t), "exchange", func(f Found) error {
		if last = f; want(f.Instances) {
			return io.EOF
		}
		return nil
	})
	if err != io.EOF {
		t.Fatalf("%s: %v; known: %+v, refused: %v, ways: %v", what, err, last.Instances, last.Refused, last.Ways)
	}
	return last
}

// lists reports whether exactly these instances are listed.
func lists(instances ...*instance) func([]find.Instance) bool {
	return func(list []find.Instance) bool {
		return len(list) == len(instances) && !slices.ContainsFunc(instances, func(i *instance) bool {
			return !slices.ContainsFunc(list, func(f find.Instance) bool { return f.Peer == i.Node.ID() })
		})
	}
}
