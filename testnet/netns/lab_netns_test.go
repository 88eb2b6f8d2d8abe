//go:build linux && netns

package netns

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/testnet"
)

// lab is a wire with hosts on it and real nodes in them, until the test ends.
type lab struct {
	t    *testing.T
	wire *Switch
	dir  string
	cell string // the repository of the cell that its instances serve
}

// member is an instance and the host that it runs in.
type member struct {
	testnet.Node
	host *Host
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "l") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return &lab{t: t, wire: NewSwitch(1), dir: dir, cell: echoCell(t, cellRepository)}
}

// network is an empty testnet. Nodes enter by those that are added to it before.
func (l *lab) network(name string) *testnet.Net {
	l.t.Helper()
	n, err := testnet.Create(testnet.Config{Dir: filepath.Join(l.dir, name), Binary: os.Getenv(binary)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.logs(n)
		}
		if err := n.Down(context.Background()); err != nil {
			l.t.Error(err)
		}
	})
	return n
}

// logs shows the end of what each node has written.
func (l *lab) logs(n *testnet.Net) {
	for _, node := range n.Nodes() {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(node.Home), "log"))
		l.t.Logf("node %d, %s %s (%v):\n%s", node.Index, node.Peer, node.State, err, text[max(0, len(text)-1500):])
	}
}

// host is a host on the wire with these prefixes as addresses.
func (l *lab) host(prefixes ...string) *Host {
	l.t.Helper()
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	h, err := NewHost(l.wire, list...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.closeAtEnd(h)
	return h
}

func (l *lab) closeAtEnd(h *Host) {
	l.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			l.t.Error(err)
		}
	})
}

// listen is what a node listens on: the ports of the product's default.
var listen = []string{
	"/ip4/0.0.0.0/udp/40000/quic-v1", "/ip4/0.0.0.0/tcp/40000/tls", "/ip6/::/udp/40000/quic-v1", "/ip6/::/tcp/40000/tls",
}

// spec is an instance of the cell in h, with what base says besides.
func (l *lab) spec(h *Host, base testnet.Spec) testnet.Spec {
	base.Repository, base.Tag, base.Prefix, base.Listen = l.cell, cellTag, h.Prefix(), listen
	base.Env = append(base.Env, "CELL_PORT_MAPPING=false")
	return base
}

// instance starts a node with an instance of the cell in h.
func (l *lab) instance(n *testnet.Net, h *Host, spec testnet.Spec) member {
	l.t.Helper()
	spec = l.spec(h, spec)
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	node, err := n.Add(ctx, spec)
	if err != nil {
		l.t.Fatal(err)
	}
	return member{node, h}
}

// instances starts size of them, in hosts of their own whose addresses are format with the numbers from 1 up, and waits
// until each lists all. The others follow the first all at once.
func (l *lab) instances(n *testnet.Net, format string, size int) []member {
	l.t.Helper()
	list := make([]member, size)
	for i := range list {
		list[i].host = l.host(fmt.Sprintf(format, i+1))
	}
	list[0] = l.instance(n, list[0].host, testnet.Spec{})
	errs := make([]error, size)
	var wg sync.WaitGroup
	for i := 1; i < size; i++ {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
			defer cancel()
			list[i].Node, errs[i] = n.Add(ctx, l.spec(list[i].host, testnet.Spec{}))
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			l.t.Fatal(err)
		}
	}
	l.agree(30*time.Second, list, list)
	return list
}

// await polls until done, and returns how long that took. When limit is over the test fails with what state says.
func (l *lab) await(limit time.Duration, what string, done func() bool, state func() string) time.Duration {
	l.t.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Since(began) > limit {
			l.t.Fatalf("not within %s: %s; %s", limit, what, state())
		}
		<-tick.C
	}
	return time.Since(began)
}

// agree waits until each of watchers lists exactly these members, itself included, and returns how long that took.
func (l *lab) agree(limit time.Duration, watchers, want []member) time.Duration {
	l.t.Helper()
	peers := peersOf(want)
	lists := map[string][]string{}
	return l.await(limit, fmt.Sprintf("%d instances list these %d: %v", len(watchers), len(want), peers), func() bool {
		same := true
		for _, m := range watchers {
			lists[m.Peer] = l.list(m)
			same = same && slices.Equal(lists[m.Peer], peers)
		}
		return same
	}, func() string {
		var lines []string
		for _, peer := range slices.Sorted(maps.Keys(lists)) {
			lines = append(lines, fmt.Sprintf("%s lists %v", peer, lists[peer]))
		}
		return strings.Join(lines, "; ")
	})
}

func peersOf(members []member) []string {
	var list []string
	for _, m := range members {
		list = append(list, m.Peer)
	}
	slices.Sort(list)
	return list
}

// list is the instance's own list of the cell's members, as `cellnode peers` prints it.
func (l *lab) list(m member) []string {
	l.t.Helper()
	var list []string
	for _, m := range l.members(m) {
		list = append(list, m.Peer)
	}
	slices.Sort(list)
	return list
}

// members is what an instance says of all members of its cell.
func (l *lab) members(m member) []daemon.Member {
	l.t.Helper()
	c := m.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	peers, err := c.Peers(ctx)
	if err != nil {
		l.t.Fatalf("node %d: %v", m.Index, err)
	}
	var list []daemon.Member
	for _, cell := range peers.Cells {
		list = append(list, cell.Members...)
	}
	return list
}
