package client

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
)

// eventually polls for something that another goroutine or process writes.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func cacheFileIn(home string) string {
	return filepath.Join(home, "cache", "peers", exchange.ID().String()+".json")
}

// cached returns what is remembered of the cell in a home directory. Whatever is there is whole.
func cached(t testing.TB, home string) []manifest.Seed {
	t.Helper()
	data, err := os.ReadFile(cacheFileIn(home))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	list, err := manifest.ParseSeedList("cache", data)
	if err != nil || list.Cell != exchange.ID() {
		t.Fatalf("the cache holds %s: %v", data, err)
	}
	return list.Instances
}

// notes collects what is logged.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) count(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Count(n.text.String(), what)
}

func (n *notes) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func TestWhatAnsweredIsRememberedAndWhatDidNotIsNot(t *testing.T) {
	a, b, home := serve(t, "a"), serve(t, "b"), shortDir(t)
	c := newClient(t, Config{Dir: consumer(t, a.seed(), b.seed(), dead(t)), Home: home})
	await(t, c, "both", lists(a, b))
	c.Close() // as a command does that ran for a moment
	got := cached(t, home)
	if len(got) != 2 {
		t.Errorf("%d are remembered", len(got))
	}
	for _, s := range got {
		if s.Peer != a.Node.ID() && s.Peer != b.Node.ID() || len(s.Addrs) == 0 {
			t.Errorf("remembered %+v", s)
		}
	}
	before, err := os.Stat(cacheFileIn(home))
	if err != nil || before.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", before, err)
	}
	again := newClient(t, Config{Dir: consumer(t), Home: home})
	await(t, again, "both", lists(a, b))
	again.Close()
	if after, err := os.Stat(cacheFileIn(home)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same was written anew: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(cacheFileIn(home)))
	if err != nil || len(left) != 1 {
		t.Errorf("in the folder: %v, %v", left, err)
	}
}

func TestNothingFoundDoesNotEmptyTheCache(t *testing.T) {
	home, gone := shortDir(t), dead(t)
	list, err := (&manifest.SeedList{Cell: exchange.ID(), Instances: []manifest.Seed{gone}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, cacheFileIn(home), string(list))
	c := newClient(t, Config{Dir: consumer(t), Home: home})
	if _, err := c.Dial(within(t), "exchange"); err == nil {
		t.Fatal("dialled a dead instance")
	}
	c.Close()
	if got := cached(t, home); len(got) != 1 || got[0].Peer != gone.Peer {
		t.Errorf("the cache holds %+v", got)
	}
}

// seedsAnywhere are seeds that nothing is asked of.
func seedsAnywhere(t *testing.T, n int) (list []manifest.Seed) {
	t.Helper()
	for range n {
		id, err := peer.IDFromPrivateKey(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, manifest.Seed{Peer: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/198.51.100.1/udp/40000/quic-v1")}})
	}
	return list
}

// names reports whether the list names exactly these peers.
func names(list, want []manifest.Seed) bool {
	return len(list) == len(want) && !slices.ContainsFunc(want, func(w manifest.Seed) bool {
		return !slices.ContainsFunc(list, func(s manifest.Seed) bool { return s.Peer == w.Peer })
	})
}

// A client that ends after one call has not heard of all that are remembered.
func TestCacheKeepsThoseOfWhomNothingIsKnown(t *testing.T) {
	home := shortDir(t)
	c := newClient(t, Config{Dir: consumer(t), Home: home})
	r, err := c.Resolve("exchange")
	if err != nil {
		t.Fatal(err)
	}
	s := &cell{Resolved: r}
	remember := func(list []manifest.Seed) {
		t.Helper()
		data, err := (&manifest.SeedList{Cell: exchange.ID(), Updated: time.Now(), Instances: list}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		write(t, cacheFileIn(home), string(data))
	}
	// keep writes the cache twice, the second time in vain, and returns what is remembered.
	keep := func(known find.Snapshot, before []find.Instance) []manifest.Seed {
		t.Helper()
		var written [2]fs.FileInfo
		for n := range written {
			if err := c.writeCache(s, known, before); err != nil {
				t.Fatal(err)
			}
			if written[n], err = os.Stat(cacheFileIn(home)); err != nil {
				t.Fatal(err)
			}
		}
		if !os.SameFile(written[0], written[1]) {
			t.Error("the same was written anew")
		}
		return cached(t, home)
	}
	live := func(s manifest.Seed) find.Instance { return find.Instance{Peer: s.Peer, Addrs: s.Addrs} }

	all := seedsAnywhere(t, 6)
	moved, fresh, unheard, refused, left := all[0], all[1], all[2:4], all[4], all[5]
	remember(slices.Concat(all[:1], all[2:]))
	moved.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/198.51.100.2/udp/40000/quic-v1")}
	got := keep(find.Snapshot{
		Instances: []find.Instance{live(moved), live(fresh)}, Refused: []find.Refusal{{Peer: refused.Peer, Err: io.ErrUnexpectedEOF}},
	}, []find.Instance{live(moved), live(left)})
	if !names(got, append(slices.Clone(unheard), moved, fresh)) {
		t.Errorf("remembered: %v", got)
	}
	at := slices.IndexFunc(got, func(s manifest.Seed) bool { return s.Peer == moved.Peer })
	if at < 0 || !got[at].Addrs[0].Equal(moved.Addrs[0]) {
		t.Errorf("the address of before is remembered: %v", got)
	}

	all = seedsAnywhere(t, maxCached+1)
	remember(all[1:])
	got = keep(find.Snapshot{Instances: []find.Instance{live(all[0])}}, nil)
	if len(got) != maxCached || !slices.ContainsFunc(got, func(s manifest.Seed) bool { return s.Peer == all[0].Peer }) {
		t.Errorf("%d are remembered", len(got))
	}
}

func TestWhoSaidGoodbyeIsNotRemembered(t *testing.T) {
	a, home := serve(t, "a"), shortDir(t)
	b := serve(t, "b", a)
	c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...), Home: home})
	await(t, c, "both", lists(a, b))
	eventually(t, "both are remembered", func() bool { return names(cached(t, home), seeds(a, b)) })
	if err := b.Instance.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	await(t, c, "the goodbye", lists(a))
	c.Close()
	if got := cached(t, home); !names(got, seeds(a)) {
		t.Errorf("remembered: %v", got)
	}
}

func TestDamagedCacheIsMovedAsideAndSaidOnce(t *testing.T) {
	a, home := serve(t, "a"), shortDir(t)
	write(t, cacheFileIn(home), `{"instances": [`)
	var log notes
	c := newClient(t, Config{Dir: consumer(t, a.seed()), Home: home, Log: log.logger()})
	conn, err := c.Dial(within(t), "exchange")
	hear(t, conn, err)
	eventually(t, "a new cache", func() bool { return len(cached(t, home)) == 1 })
	c.Close()
	second := newClient(t, Config{Dir: consumer(t), Home: home, Only: []string{find.Cache}, Log: log.logger()})
	conn, err = second.Dial(within(t), "exchange")
	hear(t, conn, err)
	if n := log.count("damaged cache moved aside"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if data, err := os.ReadFile(cacheFileIn(home) + ".bad"); err != nil || string(data) != `{"instances": [` {
		t.Errorf("moved aside: %q, %v", data, err)
	}
}

func TestHomeThatCannotBeWrittenIsNoObstacle(t *testing.T) {
	a := serve(t, "a")
	home := shortDir(t)
	write(t, filepath.Join(home, "cache"), "a file where a folder belongs: not even root can make one below it")
	if err := os.Chmod(home, 0o500); err != nil { // and this is what keeps others from writing
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(home, 0o700) })
	var log notes
	c := newClient(t, Config{Dir: consumer(t, a.seed()), Home: home, Log: log.logger()})
	conn, err := c.Dial(within(t), "exchange")
	hear(t, conn, err)
	eventually(t, "it is said that nothing is remembered", func() bool { return log.count("instances not remembered") > 0 })
	b := serve(t, "b", a)
	await(t, c, "a change", lists(a, b))
	c.Close()
	if n := log.count("instances not remembered"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestNoHomeIsNoObstacle(t *testing.T) {
	a := serve(t, "a")
	t.Setenv("HOME", "")
	t.Setenv("CELL_HOME", "")
	c, err := New(Config{Dir: consumer(t, a.seed())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := c.Dial(within(t), "exchange")
	hear(t, conn, err)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.spare); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %s, %v", c.spare, err)
	}
}
