package embed_test

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
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
	_ "github.com/cellnode/cellnode/overlay/embed"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	os.Setenv("CELL_DAEMON", "off")
	goleak.VerifyTestMain(m)
}

var exchange = manifest.Cell{Repository: "file:/nonexistent/cells/exchange", Tag: "v1.3.0"}

const limit = 20 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// node starts a member of the DHT that knows the given ones.
func node(t testing.TB, known ...*overlay.Node) *overlay.Node {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := overlay.Config{Key: key, Listen: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls"),
	}}
	for _, n := range known {
		cfg.Bootstrap = append(cfg.Bootstrap, peer.AddrInfo{ID: n.ID(), Addrs: n.Host().Addrs()})
	}
	n, err := overlay.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// serve announces an instance that says its name and then echoes, and waits until it has been read back.
func serve(t testing.TB, n *overlay.Node, name string) {
	t.Helper()
	i, err := n.Serve(t.Context(), overlay.Service{Cell: exchange, Handle: func(_ context.Context, c net.Conn) {
		defer c.Close()
		if _, err := fmt.Fprintln(c, name); err != nil {
			return
		}
		io.Copy(c, c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
}

// homeWith makes a home directory that holds a config.toml.
func homeWith(t testing.TB, config string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // t.TempDir is open to others, and too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "config.toml"), config)
	return dir
}

// entry is the config.toml of a client that knows one node.
func entry(n *overlay.Node) string {
	return fmt.Sprintf("mdns = false\nbootstrap = [\"%s/p2p/%s\"]\n", n.Host().Addrs()[0], n.ID())
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// consumer returns a folder with a Cell.toml and no lock: nothing names an instance.
func consumer(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Cell.toml"), fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = %q\n[cell.exchange.policy]\nallow_open = true\n", exchange.URL(), exchange.Tag))
	return dir
}

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	cfg.Dir = consumer(t)
	c, err := client.New(cfg)
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

// reach dials the cell and returns the name of the instance that answers.
func reach(t *testing.T, c *client.Client) (string, error) {
	t.Helper()
	conn, err := c.Dial(within(t), "exchange")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit))
	return bufio.NewReader(conn).ReadString('\n')
}

func TestDHTAlone(t *testing.T) {
	first := node(t)
	others := []*overlay.Node{node(t, first), node(t, first), node(t, first)}
	serve(t, others[0], "a")
	serve(t, others[1], "b")
	c := newClient(t, client.Config{Home: homeWith(t, entry(first)), Only: []string{find.DHT}})
	if name, err := reach(t, c); err != nil || name != "a\n" && name != "b\n" {
		t.Fatalf("reached %q, %v", name, err)
	}
	err := c.Watch(within(t), "exchange", func(f client.Found) error {
		for _, i := range f.Instances {
			if !slices.Equal(i.Sources, []string{find.DHT}) {
				return fmt.Errorf("%s comes from %v", i.Peer, i.Sources)
			}
		}
		if len(f.Instances) == 2 {
			return io.EOF
		}
		return nil
	})
	if err != io.EOF {
		t.Error(err)
	}
}

func TestEntryPointOfTheEnvironment(t *testing.T) {
	first := node(t)
	second := node(t, first)
	serve(t, second, "a")
	t.Setenv("CELL_BOOTSTRAP", fmt.Sprintf("%s/p2p/%s", first.Host().Addrs()[0], first.ID()))
	t.Setenv("CELL_MDNS", "false")
	t.Setenv("HOME", "") // as in a container
	t.Setenv("CELL_HOME", "")
	if name, err := reach(t, newClient(t, client.Config{})); err != nil || name != "a\n" {
		t.Errorf("reached %q, %v", name, err)
	}
}

func TestSettingsAreReadAgainWhenTheyWereWrong(t *testing.T) {
	first := node(t)
	serve(t, node(t, first), "a")
	home := homeWith(t, "bootstrp = []\n")
	c := newClient(t, client.Config{Home: home, Only: []string{find.DHT}})
	if _, err := reach(t, c); err == nil || !strings.Contains(err.Error(), "bootstrap") {
		t.Fatalf("the mistake is not named: %v", err)
	}
	write(t, filepath.Join(home, "config.toml"), entry(first))
	reached := func() bool {
		name, err := reach(t, c)
		return err == nil && name == "a\n"
	}
	for end := time.Now().Add(limit); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not found")
		}
	}
}

func TestWayThatIsSwitchedOffSaysSo(t *testing.T) {
	c := newClient(t, client.Config{Home: homeWith(t, "dht = false\nmdns = false\n")})
	_, err := reach(t, c)
	for _, way := range []string{"dht: switched off in config.toml", "mdns: switched off in config.toml"} {
		if err == nil || !strings.Contains(err.Error(), way) {
			t.Errorf("%q is missing in: %v", way, err)
		}
	}
}

func TestEmbeddedNodeStandsInForOneThatHasGone(t *testing.T) {
	first := node(t)
	serve(t, node(t, first), "a")
	t.Setenv("CELL_DAEMON", "auto")
	home := homeWith(t, entry(first))
	if err := os.Mkdir(filepath.Join(home, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed node leaves: a socket that nobody answers.
	l, err := net.Listen("unix", filepath.Join(home, "run", "cellnode.sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if name, err := reach(t, newClient(t, client.Config{Home: home})); err != nil || name != "a\n" {
		t.Errorf("reached %q, %v", name, err)
	}
}
