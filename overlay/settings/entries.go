package settings

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// The pauses between two readings of an entry cell's seed list: doubling from the first to the last while the node knows
// nobody, and the last when it does.
const (
	readFirst = 5 * time.Second
	readLast  = 5 * time.Minute
)

// entries are the cells whose seed lists serve as entry points. They are read in the background, for as long as the node
// lives.
type entries struct {
	cfg   Config
	peers func() int // nodes that ours knows
	news  func()     // called after each change
	look  chan struct{}
	stop  context.CancelFunc
	done  chan struct{}
	spare string // what git brings, without a home

	mu    sync.Mutex
	cells []manifest.Cell
	lists map[manifest.Cell][]manifest.Seed
	notes map[manifest.Cell]string
}

func newEntries(cfg Config, cells []manifest.Cell, peers func() int, news func()) *entries {
	return &entries{
		cfg: cfg, peers: peers, news: news, look: make(chan struct{}, 1), done: make(chan struct{}),
		cells: cells, lists: map[manifest.Cell][]manifest.Seed{}, notes: map[manifest.Cell]string{},
	}
}

// start begins to read, which close ends.
func (e *entries) start() {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	go e.run(ctx)
}

// follow replaces the cells.
func (e *entries) follow(cells []manifest.Cell) {
	e.mu.Lock()
	e.cells = cells
	e.mu.Unlock()
	select {
	case e.look <- struct{}{}:
	default:
	}
}

// known returns the seeds that were read last, and a line for each cell that could not be read.
func (e *entries) known() (seeds []manifest.Seed, notes []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, cell := range e.cells {
		seeds = append(seeds, e.lists[cell]...)
		if note := e.notes[cell]; note != "" {
			notes = append(notes, note)
		}
	}
	return seeds, notes
}

func (e *entries) close() error {
	e.stop()
	<-e.done
	if e.spare == "" {
		return nil
	}
	return os.RemoveAll(e.spare)
}

func (e *entries) run(ctx context.Context) {
	defer close(e.done)
	var src *source.Source
	pause := readFirst
	for {
		wait := time.Duration(0) // without cells there is nothing to wait for but look
		if cells := e.wanted(); len(cells) > 0 {
			src = e.readAll(ctx, src, cells)
			wait = pause
			if e.peers() > 0 {
				wait = readLast
			}
			pause = min(2*pause, readLast)
		}
		if !e.rest(ctx, wait) {
			pause = readFirst
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// rest waits, with zero for ever; it reports false when it was cut short by other cells or by ctx.
func (e *entries) rest(ctx context.Context, wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
		return true
	case <-e.look:
	case <-ctx.Done():
	}
	return false
}

func (e *entries) wanted() []manifest.Cell {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.cells)
}

// readAll reads the list of each cell, the slow beside the quick. src is made when it is first needed.
func (e *entries) readAll(ctx context.Context, src *source.Source, cells []manifest.Cell) *source.Source {
	if src == nil {
		var err error
		if src, err = e.open(); err != nil {
			e.took(cells[0], nil, err)
			return nil
		}
	}
	var wg sync.WaitGroup
	for _, cell := range cells {
		wg.Go(func() {
			list, err := src.Seeds(ctx, cell.URL(), cell.Tag)
			if ctx.Err() == nil {
				e.took(cell, list, err)
			}
		})
	}
	wg.Wait()
	return src
}

func (e *entries) open() (*source.Source, error) {
	if e.cfg.Home != nil {
		return source.New(source.Config{CacheDir: e.cfg.Home.Path("cache", "git"), Log: e.cfg.Log})
	}
	var err error
	if e.spare, err = os.MkdirTemp("", "cellnode"); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return source.New(source.Config{CacheDir: e.spare, Log: e.cfg.Log})
}

// took notes what became of a reading. What was read before stays when it failed.
func (e *entries) took(cell manifest.Cell, list *manifest.SeedList, err error) {
	note := ""
	switch {
	case err != nil:
		note = fmt.Sprintf("the entry cell %s cannot be read: %v", cell, err)
	case len(list.Instances) == 0:
		note = fmt.Sprintf("the entry cell %s lists no instances: let one of them push the list (cellnode run --seeds-push)", cell)
	}
	e.mu.Lock()
	same := e.notes[cell] == note
	e.notes[cell] = note
	if err == nil {
		same = same && slices.EqualFunc(e.lists[cell], list.Instances, equalSeeds)
		e.lists[cell] = list.Instances
	}
	e.mu.Unlock()
	if same {
		return
	}
	if note != "" {
		e.cfg.Log.Warn(note)
	}
	e.news()
}

func equalSeeds(a, b manifest.Seed) bool {
	text := func(s manifest.Seed) string {
		var t strings.Builder
		for _, addr := range s.Addrs {
			t.WriteString(addr.String())
		}
		return t.String()
	}
	return a.Peer == b.Peer && text(a) == text(b)
}
