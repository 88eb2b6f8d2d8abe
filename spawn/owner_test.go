//go:build unix

package spawn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// owned is an Owner and a cell that it may run: the test binary as a service of some kind.
type owned struct {
	*Owner
	t     *testing.T
	order Order
}

func newOwned(t *testing.T, mode string) *owned {
	t.Helper()
	if !sandbox.Probe().Enough() {
		t.Skipf("no sandbox here: %s", sandbox.Probe().WallsErr)
	}
	root, err := os.MkdirTemp("", "o") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	server, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	recipe := repo(t, map[string]string{"server": string(server), "Cell.toml": cellToml +
		"[build]\ncommand = [\"cp\", \"server\", \"out\"]\noutput = \"out\"\n" +
		fmt.Sprintf("[run]\nenv = {%s = %q}\n[sandbox]\nread = [\"/lib\", \"/lib64\", \"/usr/lib\"]\n", serviceMode, mode)})
	dir, err := home.At(root)
	if err != nil {
		t.Fatal(err)
	}
	cache, cacheErr := OpenCache(dir.Path("cache", "spawn"))
	src, sourceErr := source.New(source.Config{CacheDir: dir.Path("cache", "git")})
	if err := errors.Join(cacheErr, sourceErr); err != nil {
		t.Fatal(err)
	}
	o, err := NewOwner(OwnerConfig{Home: dir, Cache: cache, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return &owned{o, t, Order{URL: recipe.URL, Cell: recipe.Cell, Commit: recipe.Commit, Ready: patience}}
}

// starts is how often a service has begun, by what each wrote first.
func (o *owned) starts() (n int) {
	o.t.Helper()
	err := filepath.WalkDir(o.cfg.Home.Path("log"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		n += strings.Count(string(data), "name: exchange")
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return n
}

func ignore(string) {}

func TestTwentyWhoAskGetOneBuildAndOneInstance(t *testing.T) {
	o := newOwned(t, "serves")
	var mu sync.Mutex
	var wg sync.WaitGroup
	sockets, compiled := map[string]int{}, map[int]int{}
	for n := range 20 {
		wg.Go(func() {
			s, err := o.Spawn(t.Context(), o.order, func(step string) {
				if step == "compile" {
					mu.Lock()
					defer mu.Unlock()
					compiled[n]++
				}
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			sockets[s.Socket]++
		})
	}
	wg.Wait()
	if len(sockets) != 1 || o.starts() != 1 {
		t.Errorf("%d starts, at %v", o.starts(), sockets)
	}
	for n, times := range compiled {
		if times != 1 {
			t.Errorf("number %d saw %d builds", n, times)
		}
	}
	again, err := o.Spawn(t.Context(), o.order, ignore)
	if err != nil || !again.Ran || sockets[again.Socket] != 20 {
		t.Errorf("got %+v, %v", again, err)
	}
}

func TestASlowStartNeverMakesASecond(t *testing.T) {
	o := newOwned(t, "slow")
	tries := 0
	for end := time.Now().Add(patience); time.Now().Before(end); tries++ {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := o.Spawn(ctx, o.order, ignore)
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if o.starts() != 1 || tries < 5 {
		t.Errorf("%d starts for %d who lost patience", o.starts(), tries)
	}
}

// Fifteen cells that take a second to start, each of which needs three others: each is started once.
func TestFifteenSlowCellsThatNeedEachOther(t *testing.T) {
	const cells = 15
	o := newOwned(t, "slow")
	orders := make([]Order, cells)
	for n := range orders {
		tag := fmt.Sprintf("v2.0.%d", n)
		git(t, o.order.URL, "tag", tag)
		orders[n] = o.order
		var err error
		if orders[n].Cell, err = manifest.NewCell(o.order.URL, tag); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for n := range cells {
		wg.Go(func() {
			for _, needed := range []int{n, n + 1, n + 5, n + 9} { // a circle: each needs others, directly and not
				if _, err := o.Spawn(t.Context(), orders[needed%cells], ignore); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := o.cfg.Home.Running()
	if err != nil || len(list) != cells || o.starts() != cells {
		t.Errorf("%d services after %d starts of %d cells, %v", len(list), o.starts(), cells, err)
	}
}

func TestWhatFailsIsTriedAgainByTheNextWhoAsks(t *testing.T) {
	o := newOwned(t, "dies")
	for range 2 {
		var notReady *NotReadyError
		if _, err := o.Spawn(t.Context(), o.order, ignore); !errors.As(err, &notReady) {
			t.Fatalf("got %v", err)
		}
	}
	if o.starts() != 2 || !o.Idle() {
		t.Errorf("%d starts, idle %v", o.starts(), o.Idle())
	}
}

func TestADamagedBinaryIsBuiltAgainByItself(t *testing.T) {
	o := newOwned(t, "serves")
	s, err := o.Spawn(t.Context(), o.order, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Stop(t.Context(), s.Peer); err != nil {
		t.Fatal(err)
	}
	if err := o.AwaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(s.Binary.Path, 0o755), os.WriteFile(s.Binary.Path, make([]byte, s.Binary.Size), 0o755)); err != nil {
		t.Fatal(err)
	}
	var steps []string
	if _, err := o.Spawn(t.Context(), o.order, func(step string) { steps = append(steps, step) }); err != nil || !slices.Contains(steps, "compile") {
		t.Errorf("%v after %v", err, steps)
	}
}

func TestAnOwnerThatClosesLeavesNothing(t *testing.T) {
	o := newOwned(t, "serves")
	if _, err := o.Spawn(t.Context(), o.order, ignore); err != nil {
		t.Fatal(err)
	}
	git(t, o.order.URL, "tag", "v2.0.0")
	second := o.order
	var err error
	if second.Cell, err = manifest.NewCell(o.order.URL, "v2.0.0"); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		var once sync.Once
		_, err := o.Spawn(context.Background(), second, func(string) { once.Do(func() { close(begun) }) })
		waiting <- err
	}()
	<-begun
	if err := errors.Join(o.Close(), o.Close()); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil && !errors.Is(err, ErrOwnerClosed) {
		t.Error(err)
	}
	if list, err := o.cfg.Home.Running(); err != nil || len(list) > 0 {
		t.Errorf("left are %v, %v", list, err)
	}
	if _, err := o.Spawn(t.Context(), o.order, ignore); !errors.Is(err, ErrOwnerClosed) {
		t.Errorf("got %v", err)
	}
}
