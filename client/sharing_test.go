package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

func TestCallersOfACellShareOneTracker(t *testing.T) {
	cells := 50
	if testing.Short() {
		cells = 10 // a hundred handshakes at once take seconds under the race detector
	}
	a := serve(t, "a")
	dir := t.TempDir()
	var toml string
	var lock manifest.Lock
	for n := range cells { // the instance serves the first alone
		cell := manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: fmt.Sprintf("v2.%d", n)}
		if n == 0 {
			cell = exchange
		}
		name := fmt.Sprintf("cell-%d", n)
		toml += fmt.Sprintf("[cell.%s]\ngit = %q\ntag = %q\n[cell.%s.policy]\nallow_open = true\n", name, cell.URL(), cell.Tag, name)
		lock.Cells = append(lock.Cells, manifest.LockedCell{Name: name, Cell: cell, Git: cell.URL(), Commit: commit, Seeds: seeds(a)})
	}
	data, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Cell.toml"), toml)
	write(t, filepath.Join(dir, "Cell.lock"), string(data))
	c := newClient(t, Config{Dir: dir, Only: []string{find.Cache, find.Seed, find.List}})
	if c.source, err = source.New(source.Config{CacheDir: t.TempDir(), Offline: true}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for n := range cells {
				wg.Go(func() {
					conn, err := c.Dial(within(t), fmt.Sprintf("cell-%d", n))
					var none *NoneError
					switch {
					case n == 0 && err != nil, n > 0 && !errors.As(err, &none):
						t.Errorf("cell %d: %v", n, err)
					case err == nil:
						conn.Close()
					}
				})
			}
		})
	}
	wg.Wait()
	if len(c.cells) != cells || len(c.names) != cells {
		t.Errorf("%d trackers for %d names", len(c.cells), len(c.names))
	}
}

// Each cell has a tracker, and nothing else of its own: one UDP socket and one list of warm connections serve them all.
func TestFiftyCellsShareAClient(t *testing.T) {
	const cells = 50
	n, err := overlay.New(t.Context(), overlay.Config{Key: newKey(t), NoDHT: true, Listen: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	dir := t.TempDir()
	var toml string
	var lock manifest.Lock
	for i := range cells {
		cell := manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: fmt.Sprintf("v2.%d", i)}
		if _, err := n.Serve(t.Context(), overlay.Service{Cell: cell, Commit: commit, Handle: echo("a")}); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("cell-%d", i)
		toml += fmt.Sprintf("[cell.%s]\ngit = %q\ntag = %q\n[cell.%s.policy]\nallow_open = true\n", name, cell.URL(), cell.Tag, name)
		lock.Cells = append(lock.Cells, manifest.LockedCell{
			Name: name, Cell: cell, Git: cell.URL(), Commit: commit, Seeds: []manifest.Seed{{Peer: n.ID(), Addrs: n.Listening()}},
		})
	}
	data, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "Cell.toml"), toml)
	write(t, filepath.Join(dir, "Cell.lock"), string(data))
	c := newClient(t, Config{Dir: dir, Only: []string{find.Seed}})
	if c.source, err = source.New(source.Config{CacheDir: t.TempDir(), Offline: true}); err != nil {
		t.Fatal(err)
	}
	before := inUse(t)
	for i := range cells {
		conn, err := c.Dial(within(t), fmt.Sprintf("cell-%d", i))
		hear(t, conn, err)
	}
	after := inUse(t)
	t.Logf("each of %d cells has %d goroutines and %d KiB, here and at the instance", cells, (after.goroutines-before.goroutines)/cells, (after.heap-before.heap)/cells>>10)
	if got := after.goroutines - before.goroutines; got > 8*cells {
		t.Errorf("%d goroutines more", got)
	}
	if got := after.heap - before.heap; got > 128<<10*cells {
		t.Errorf("%d bytes more", got)
	}
	if got := after.sockets - before.sockets; got > 2 { // one for each IP version
		t.Errorf("%d sockets more", got)
	}
}

// usage is what a process has in use.
type usage struct{ goroutines, heap, sockets int }

func inUse(t *testing.T) usage {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	u := usage{goroutines: runtime.NumGoroutine(), heap: int(m.HeapAlloc)}
	if runtime.GOOS != "linux" {
		return u
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			u.sockets++
		}
	}
	return u
}

func TestOneCellWrittenInManyWaysIsLookedForOnce(t *testing.T) {
	c := newClient(t, Config{Dir: t.TempDir(), AllowOpen: true, Only: []string{find.Cache}})
	for _, name := range []string{
		"cell-hub.acme.com/acme/exchange@v1", "https://cell-hub.acme.com/acme/exchange.git@v1", "git@CELL-HUB.acme.com:acme/exchange@v1",
	} {
		if _, err := c.Settle(within(t), name); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.cells) != 1 || len(c.names) != 3 {
		t.Errorf("%d trackers for %d names", len(c.cells), len(c.names))
	}
	dir := consumer(t)
	c = newClient(t, Config{Dir: dir, AllowOpen: true, Only: []string{find.Cache}})
	for _, name := range []string{"exchange", exchange.String()} { // what the lock pins is wanted of one of them alone
		if _, err := c.Settle(within(t), name); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.cells) != 2 {
		t.Errorf("%d trackers for a pinned and an unpinned cell", len(c.cells))
	}
}

func TestGitThatHangsHoldsNobodyUp(t *testing.T) {
	hung := make(chan struct{})
	asked := make(chan struct{}, 1)
	git := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	defer git.Close()
	defer close(hung)
	cell, err := manifest.NewCell(git.URL+"/acme/exchange", "v1.3.0")
	if err != nil {
		t.Fatal(err)
	}
	a := serveCell(t, cell, "a")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Cell.toml"), fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = \"v1.3.0\"\n[cell.exchange.policy]\nallow_open = true\n", git.URL+"/acme/exchange"))
	writeLock(t, dir, "exchange", cell, a.seed())
	c := newClient(t, Config{Dir: dir})
	began := time.Now()
	conn, err := c.Dial(within(t), "exchange")
	hear(t, conn, err)
	<-asked
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("dialled after %s", took)
	}
}

func TestCloseEndsWhoeverWaitsAndLeavesNothing(t *testing.T) {
	missing := dead(t)
	c := newClient(t, Config{Dir: consumer(t, missing)})
	ends := make(chan error, 3)
	go func() { ends <- c.Watch(context.Background(), "exchange", func(Found) error { return nil }) }()
	go func() {
		_, err := c.DialPeer(context.Background(), "exchange", missing.Peer.String())
		ends <- err
	}()
	go func() {
		for {
			_, err := c.Dial(context.Background(), "exchange")
			var none *NoneError
			if !errors.As(err, &none) {
				ends <- err
				return
			}
		}
	}()
	eventually(t, "the search has begun", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.cells) == 1 })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range cap(ends) {
		if err := <-ends; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := c.Dial(within(t), "exchange"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
