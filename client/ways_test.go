package client

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// alone checks that a client that uses one way only finds these instances, and says that it was this way.
func alone(t *testing.T, c *Client, way string, instances ...*instance) {
	t.Helper()
	conn, err := c.Dial(within(t), "exchange")
	hear(t, conn, err)
	f := await(t, c, "by "+way+" alone", lists(instances...))
	for _, i := range f.Instances {
		if !slices.Equal(i.Sources, []string{way}) {
			t.Errorf("%s comes from %v", i.Peer, i.Sources)
		}
	}
}

func TestSeedsOfTheLockAlone(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	alone(t, newClient(t, Config{Dir: consumer(t, seeds(a, b)...), Only: []string{find.Seed}}), find.Seed, a, b)
}

func TestSeedsOfTheRepositoryAlone(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	repo := filepath.Join(t.TempDir(), "exchange")
	cell, err := manifest.NewCell(repo, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	a := serveCell(t, cell, "a")
	list, err := (&manifest.SeedList{Cell: cell.ID(), Instances: seeds(a)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(repo, "instances.json"), string(list))
	write(t, filepath.Join(repo, "Cell.toml"), "[package]\nname = \"exchange\"\n")
	for _, args := range [][]string{
		{"init", "--quiet"}, {"add", "."}, {"-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x"}, {"tag", "v1.0.0"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	c := newClient(t, Config{Only: []string{find.Seed}, AllowOpen: true})
	conn, err := c.Dial(within(t), cell.String())
	if got := hear(t, conn, err); got != "a" {
		t.Errorf("reached %q", got)
	}
}

func TestCacheAlone(t *testing.T) {
	a := serve(t, "a")
	dir, home := consumer(t, a.seed()), shortDir(t)
	first := newClient(t, Config{Dir: dir, Home: home})
	await(t, first, "found", lists(a))
	eventually(t, "the cache is written", func() bool { return len(cached(t, home)) == 1 })
	first.Close()
	alone(t, newClient(t, Config{Dir: consumer(t), Home: home, Only: []string{find.Cache}}), find.Cache, a)
}

func TestListAlone(t *testing.T) {
	a := serve(t, "a")
	b := serve(t, "b", a)
	// One live instance is enough of an entry point; the others come from its list.
	alone(t, newClient(t, Config{Dir: consumer(t, dead(t), a.seed()), Only: []string{find.List}}), find.List, a, b)
}

func TestServiceOfThisMachineAlone(t *testing.T) {
	dir := shortDir(t)
	h, err := home.At(dir)
	if err != nil {
		t.Fatal(err)
	}
	a := register(t, h, exchange, commit)
	otherCommit := register(t, h, exchange, strings.Repeat("c1", 20))
	other := exchange
	other.Tag = "v1.2.0"
	register(t, h, other, commit)
	c := newClient(t, Config{Dir: consumer(t), Home: dir, Only: []string{find.Local}})
	conn, err := c.Dial(within(t), "exchange")
	if got := hear(t, conn, err); got != a.Base() {
		t.Fatalf("reached %q", got)
	}
	f := await(t, c, "the one that is wanted", func(l []find.Instance) bool { return len(l) == 1 })
	if i := f.Instances[0]; i.Path != find.Local || i.Commit != commit {
		t.Errorf("got %+v", i)
	}
	// One damaged registration hides neither the others nor their end.
	damaged, err := h.Claim("damaged", exchange.ID().String())
	if err != nil {
		t.Fatal(err)
	}
	defer damaged.Close()
	write(t, filepath.Join(dir, "run", damaged.Base()+".json"), "{")
	a.Close()
	b := register(t, h, exchange, commit)
	await(t, c, "the newcomer", func(l []find.Instance) bool { return len(l) == 1 && strings.Contains(l[0].Socket, b.Base()) })
	b.Close()
	otherCommit.Close()
	await(t, c, "no service", func(l []find.Instance) bool { return len(l) == 0 })
}

// register starts a service with a socket of its own, as a node beside it would. The registration's name is the
// service's.
func register(t *testing.T, h *home.Dir, cell manifest.Cell, commit string) *home.Registration {
	t.Helper()
	r, err := h.Claim("exchange", cell.ID().String())
	if err != nil {
		t.Fatal(err)
	}
	path, err := r.Socket()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); r.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echo(r.Base())(t.Context(), c)
		}
	}()
	id, err := peer.IDFromPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Publish(home.Running{
		Name: "exchange", Cell: cell.String(), CID: cell.ID().String(), Peer: id.String(), Commit: commit, Socket: "unix:" + path,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// daemonOf serves a node's API on the socket of the machine's node.
func daemonOf(t *testing.T, n *overlay.Node, dir string) *daemon.Server {
	t.Helper()
	h, err := home.At(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.Listen(daemon.Socket)
	if err != nil {
		t.Fatal(err)
	}
	s := daemon.Serve(l, daemon.ServerConfig{Node: n.API()})
	t.Cleanup(func() { s.Close() })
	return s
}

func TestNodeOfThisMachineAlone(t *testing.T) {
	t.Setenv("CELL_DAEMON", "auto")
	a := serve(t, "a")
	b := serve(t, "b", a)
	dir := shortDir(t)
	c := newClient(t, Config{Dir: consumer(t), Home: dir, Only: []string{find.Gossip}})
	if _, err := c.Dial(within(t), "exchange"); err == nil || !strings.Contains(err.Error(), "cellnode run") {
		t.Errorf("without a node: %v", err)
	}
	d := daemonOf(t, b.Node, dir) // b's node knows the members by gossip
	eventually(t, "the node that has come is asked", func() bool {
		conn, err := c.Dial(within(t), "exchange")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	f := await(t, c, "what the node knows", lists(a, b))
	if !slices.ContainsFunc(f.Instances, func(i find.Instance) bool { return slices.Contains(i.Sources, find.Gossip) }) {
		t.Errorf("got %+v", f.Instances)
	}
	d.Close() // what is known stays, and is looked after without it
	a.Close()
	await(t, c, "a has died after the daemon", lists(b))
}

func TestDeadInstancesAreSkippedUnseen(t *testing.T) {
	a := serve(t, "a")
	c := newClient(t, Config{Dir: consumer(t, dead(t), a.seed(), dead(t)), Only: []string{find.Seed}})
	for range 3 {
		conn, err := c.Dial(within(t), "exchange")
		if got := hear(t, conn, err); got != "a" {
			t.Fatalf("reached %q", got)
		}
	}
	f := await(t, c, "one live instance", lists(a))
	if len(f.Instances) != 1 {
		t.Errorf("got %+v", f.Instances)
	}
}

func TestInstanceThatDiesUnderTheClientIsReplaced(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...), Only: []string{find.Seed}})
	await(t, c, "both", lists(a, b))
	conn, err := c.Dial(within(t), "exchange")
	first := hear(t, conn, err)
	live := map[string]*instance{"a": b, "b": a}[first]
	map[string]*instance{"a": a, "b": b}[first].Close()
	conn, err = c.Dial(within(t), "exchange")
	if got := hear(t, conn, err); got == first {
		t.Errorf("reached %q, which is dead", got)
	}
	await(t, c, "the other one alone", lists(live))
}

func TestNoneSaysWhatEveryWayAnswered(t *testing.T) {
	t.Setenv("CELL_DAEMON", "auto")
	c := newClient(t, Config{Dir: consumer(t, dead(t))})
	_, err := c.Dial(within(t), "exchange")
	var none *NoneError
	if !errors.As(err, &none) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{exchange.String(), "local: 0", "seed: ", "cache: 0", "node: none runs on this machine", "(seed): "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if len(none.Refusals) != 1 || len(none.Ways) != 4 {
		t.Errorf("got %+v", none)
	}
}

func TestUnknownWayIsRefused(t *testing.T) {
	if c, err := New(Config{Home: shortDir(t), Only: []string{"seeds"}}); err == nil || !strings.Contains(err.Error(), "choose from") {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestSocketThatAKilledNodeLeftIsNoNode(t *testing.T) {
	t.Setenv("CELL_DAEMON", "auto")
	dir := shortDir(t)
	h, err := home.At(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Sub("run"); err != nil {
		t.Fatal(err)
	}
	path, err := h.SocketPath(daemon.Socket)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if got := daemonSocket(h); got != path {
		t.Errorf("a node that listens: %q", got)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if got := daemonSocket(h); got != "" {
		t.Errorf("got %s", got)
	}
	for value, want := range map[string]string{"off": "", "/run/other.sock": "/run/other.sock"} {
		t.Setenv("CELL_DAEMON", value)
		if got := daemonSocket(h); got != want {
			t.Errorf("CELL_DAEMON=%s: %q", value, got)
		}
	}
}

func TestAnInstalledNodeThatDoesNotStartIsSaid(t *testing.T) {
	t.Setenv("CELL_DAEMON", "auto")
	for name, installed := range map[string]string{
		"port 40000 is taken":       `{"command":["/bin/sh","-c","echo port 40000 is taken; exit 1"]}`,
		"`cellnode daemon install`": "{",
	} {
		c := newClient(t, Config{Dir: consumer(t), Only: []string{"dht"}})
		write(t, c.home.Path("daemon.json"), installed)
		_, err := c.Dial(within(t), "exchange")
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), errNoNode.Error()) {
			t.Errorf("daemon.json holds %s: %v", installed, err)
		}
	}
}
