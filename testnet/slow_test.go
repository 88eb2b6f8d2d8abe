//go:build unix

package testnet

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

// slowCells is how many cells there are. Fifteen are thirty-one processes, which two processors that are shared do not
// always let answer in time; `make slow` has them.
var slowCells = flag.Int("cells", 5, "how many cells TestSlowCellsThatNeedEachOther starts")

const slowInstances = 2 // of each: somebody is there to take the other for dead

// needs names the cells that a cell waits for at its start: two that come before it. Afterwards everything needs
// everything, by way of others.
func needs(i int) string {
	var out []string
	for _, n := range []int{(i - 1) / 2, i / 3} {
		if n < i {
			out = append(out, slowName(n))
		}
	}
	return strings.Join(out, ",")
}

func slowName(i int) string { return fmt.Sprintf("slow%d", i) }

func slowURL(i int) string { return "https://example.org/acme/" + slowName(i) }

// slowCell is a repository of a cell that names all others as cells that it calls.
func slowCell(t *testing.T, i int) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "[package]\nname = %q\nrepository = %q\n[health]\nkind = \"http\"\npath = \"/health\"\n", slowName(i), slowURL(i))
	for o := range *slowCells {
		if o != i {
			fmt.Fprintf(&text, "[cell.%s]\ngit = %q\ntag = \"v1\"\n[cell.%s.policy]\nallow_open = true\n", slowName(o), slowURL(o), slowName(o))
		}
	}
	return repository(t, map[string]string{"Cell.toml": text.String()})
}

// TestSlowCellsThatNeedEachOtherAreNeverTakenForDead starts cells at once. Each takes seconds before it listens,
// then waits, unwell, for two others. Nobody may be dropped, or called ready and then not.
func TestSlowCellsThatNeedEachOtherAreNeverTakenForDead(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes for many seconds")
	}
	sockets(t)
	n, err := Create(Config{Dir: filepath.Join(t.TempDir(), "net"), Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	entry, err := n.Add(t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var specs []Spec
	for i := range *slowCells {
		repo := slowCell(t, i)
		for o := range slowInstances {
			specs = append(specs, Spec{Repository: repo, Tag: "v1", Command: []string{self}, Env: []string{
				serviceNeeds + "=" + needs(i), "CELL_DAEMON=" + entry.API,
				fmt.Sprintf("%s=%dms", serviceTakes, 500+(i*7+o*3)%10*200),
			}})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var watches sync.WaitGroup
	histories := make([]*history, *slowCells)
	for i := range histories {
		histories[i] = newHistory(t, i)
		watches.Go(func() { histories[i].watch(ctx, entry) })
	}
	if err := each(specs, len(specs), func(s Spec) error { _, err := n.Add(ctx, s); return err }); err != nil {
		t.Fatal(err)
	}
	for _, h := range histories {
		h.awaitAll(ctx)
	}
	cancel()
	watches.Wait()
	suspicions := 0
	for _, node := range n.Running()[1:] {
		suspicions += notOneDeath(t, node)
	}
	t.Logf("%d passing suspicions among the instances", suspicions)
}

// notOneDeath looks through all that has happened to a node's cell, and counts suspicions.
func notOneDeath(t *testing.T, node Node) (suspicions int) {
	t.Helper()
	c := node.Client()
	defer c.Close()
	seen := 0
	err := c.Events(t.Context(), 0, false, func(e daemon.Event) error {
		seen++
		switch e.Kind {
		case "suspected":
			suspicions++
		case "dead", "expired", "left":
			t.Errorf("node %d: %s: %s %s", node.Index, e.Cell, e.Peer, e.Kind)
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("node %d: %d events, %v", node.Index, seen, err)
	}
	return suspicions
}

// history is what a consumer sees of one cell.
type history struct {
	t     *testing.T
	cell  int
	all   chan struct{} // closed when all instances serve
	ready map[string]bool
}

func newHistory(t *testing.T, cell int) *history {
	return &history{t: t, cell: cell, all: make(chan struct{}), ready: map[string]bool{}}
}

// watch follows the cell through a node until ctx ends.
func (h *history) watch(ctx context.Context, through Node) {
	c := through.Client()
	defer c.Close()
	err := c.Watch(ctx, daemon.Query{Repository: slowURL(h.cell), Tag: "v1"}, func(r daemon.Reply) error {
		h.take(r)
		return nil
	})
	if ctx.Err() == nil {
		h.t.Errorf("%s: the watch ended: %v", slowName(h.cell), err)
	}
}

// take holds a reply to the rule: who has served once serves from then on.
func (h *history) take(r daemon.Reply) {
	states := map[string]string{}
	for _, i := range r.Instances {
		states[i.Peer] = i.State
	}
	for peer := range h.ready {
		if states[peer] != "serving" {
			h.t.Errorf("%s: %s served and is %q", r.Cell, peer, states[peer])
		}
	}
	for peer, state := range states {
		if state == "serving" && !h.ready[peer] {
			h.ready[peer] = true
			if len(h.ready) == slowInstances {
				close(h.all)
			}
		}
	}
}

// awaitAll returns when every instance of the cell serves.
func (h *history) awaitAll(ctx context.Context) {
	select {
	case <-h.all:
	case <-ctx.Done():
		h.t.Errorf("%s: not all instances serve: %v", slowName(h.cell), ctx.Err())
	}
}
