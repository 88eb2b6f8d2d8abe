package sidecar

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// gitHost stands in for a repository with a seed list.
type gitHost struct {
	mu     sync.Mutex
	list   *manifest.SeedList
	at     string
	writes []time.Time
	err    error
}

func (h *gitHost) PublishedSeeds(context.Context, string, manifest.Cell) (*manifest.SeedList, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list, h.at, h.err
}

func (h *gitHost) PushSeeds(_ context.Context, _ string, _ manifest.Cell, list *manifest.SeedList, at string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at != h.at {
		return &source.StaleError{URL: "host"}
	}
	h.list, h.at = list, h.at+"x"
	h.writes = append(h.writes, time.Now())
	return h.err
}

func (h *gitHost) names() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	if h.list != nil {
		for _, s := range h.list.Instances {
			names = append(names, string(s.Peer))
		}
	}
	return strings.Join(names, " ")
}

func (h *gitHost) written() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.writes)
}

// mates is a cell as one instance sees it.
type mates struct {
	rank int

	mu      sync.Mutex
	live    []string
	answers []string // of those that are not known
	met     []manifest.Seed
	changed chan struct{}
}

func newMates(rank int, live ...string) *mates {
	return &mates{rank: rank, live: live, changed: make(chan struct{}, 8)}
}

func seedNamed(name string) manifest.Seed {
	return manifest.Seed{Peer: peer.ID(name), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/203.0.113.7/udp/40000/quic-v1")}}
}

func (m *mates) Seeds() []manifest.Seed {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []manifest.Seed
	for _, name := range m.live {
		list = append(list, seedNamed(name))
	}
	return list
}

func (m *mates) Rank() int { return m.rank }

func (m *mates) WatchSeeds(ctx context.Context, f func()) error {
	f()
	for {
		select {
		case <-m.changed:
			f()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *mates) Answers(_ context.Context, s manifest.Seed) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Contains(strings.Join(m.answers, " "), string(s.Peer))
}

func (m *mates) Meet(seeds []manifest.Seed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.met = seeds
}

func (m *mates) set(live ...string) {
	m.mu.Lock()
	m.live = live
	m.mu.Unlock()
	m.changed <- struct{}{}
}

func publish(t *testing.T, h *gitHost, m *mates, log *slog.Logger) (stop func()) {
	t.Helper()
	cell, err := manifest.NewCell("https://example.org/acme/exchange", "v1")
	if err != nil {
		t.Fatal(err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &publisher{cell: cell, url: "host", mates: m, writer: h, log: log}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func expect(t *testing.T, h *gitHost, after time.Duration, want string, writes int) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := h.names(); got != want || h.written() != writes {
		t.Errorf("the list is %q after %d writes, want %q after %d", got, h.written(), want, writes)
	}
}

func TestTheDeadLeaveThePublishedListWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := &gitHost{}, newMates(0, "a", "b", "c")
		defer publish(t, h, m, nil)()
		expect(t, h, 2*time.Second, "a b c", 1)
		m.set("a", "c")
		expect(t, h, time.Minute, "a c", 2)
		m.set("a", "c", "d")
		m.set("a", "d", "e")
		expect(t, h, time.Minute, "a d e", 3)
		if gap := h.writes[2].Sub(h.writes[1]); gap < pushEvery {
			t.Errorf("two writes within %s", gap)
		}
		expect(t, h, 11*time.Hour, "a d e", 3) // nothing changed, so nothing is written
		expect(t, h, 2*time.Hour, "a d e", 4)  // but the records are renewed
	})
}

func TestOneOfManyWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &gitHost{}
		first, second := newMates(0, "a", "b"), newMates(1, "a", "b")
		stop := publish(t, h, first, nil)
		defer publish(t, h, second, nil)()
		expect(t, h, 10*time.Minute, "a b", 1)
		stop() // as when it is killed
		second.set("b")
		expect(t, h, 10*time.Second, "b", 2)
	})
}

func TestWhoIsCutOffTakesNobodyOffTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := &gitHost{}, newMates(0, "a")
		cell, _ := manifest.NewCell("https://example.org/acme/exchange", "v1")
		h.list = &manifest.SeedList{Cell: cell.ID(), Updated: time.Now(), Instances: []manifest.Seed{seedNamed("b"), seedNamed("c")}}
		m.answers = []string{"b"} // it has not met them, and one of them is dead
		defer publish(t, h, m, nil)()
		expect(t, h, 2*time.Minute, "a b", 1)
		m.mu.Lock()
		if !hasPeer(m.met, "b") {
			t.Errorf("it does not meet those who live: %v", m.met)
		}
		m.mu.Unlock()
		m.set() // it leaves, and takes itself off
		expect(t, h, 2*time.Minute, "b", 2)
		m.mu.Lock()
		m.answers = nil
		m.mu.Unlock()
		m.set()
		expect(t, h, time.Hour, "b", 2) // an empty list would help nobody
	})
}

func TestAHostThatRefusesIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		h, m := &gitHost{err: &source.RefusedError{URL: "host", Err: context.Canceled}}, newMates(0, "a")
		stop := publish(t, h, m, slog.New(slog.NewTextHandler(&said, nil)))
		time.Sleep(10 * time.Minute)
		stop()
		if n := strings.Count(said.String(), "not written"); n != 1 {
			t.Errorf("said %d times: %s", n, said.String())
		}
	})
}
