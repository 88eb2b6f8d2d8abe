//go:build !windows

package sidecar

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cellnode/cellnode/internal/link"
)

var idle = flag.Int("idle", 200, "how many connections TestIdleConnectionsCostLittle holds")

const (
	idlePerPeer = 500
	// idleCost bounds what one costs the proxy, in KiB of its resident memory: the client's TLS state, three goroutines and
	// a small buffer each way.
	idleCost = 96
)

// Connections that nobody uses cost the proxy some memory and nothing else, and all of them still work.
func TestIdleConnectionsCostLittle(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	if testing.Short() {
		t.Skip("make test runs it without the race detector, which takes more memory than a connection")
	}
	socket := socketPath(t)
	newEcho(t, socket)
	p := startProxy(t, newHome(t), "unix:"+socket, nil)
	defer p.kill()
	to := link.Target{Peer: p.addr.peer, Addrs: p.addr.listen, Trusted: true}
	warm := hold(t, to, 50) // what a process takes once is taken
	before := resident(t, p.cmd.Process.Pid)
	conns := hold(t, to, *idle)
	after := resident(t, p.cmd.Process.Pid)
	each := float64(after-before) / 1024 / float64(*idle)
	t.Logf("%d idle connections: %d MB before, %d MB after, %.1f KiB each", *idle, before>>20, after>>20, each)
	if each > idleCost {
		t.Errorf("each costs %.1f KiB, at most %d are good", each, idleCost)
	}
	for _, c := range append(warm, conns...) {
		ask(t, c)
	}
}

// hold opens n connections over TCP, some at a time, as clients of 500 each.
func hold(t *testing.T, to link.Target, n int) []*link.Conn {
	t.Helper()
	conns := make([]*link.Conn, n)
	var wg sync.WaitGroup
	for first := 0; first < n; first += idlePerPeer {
		d, err := link.NewDialer(link.DialerConfig{NoQUIC: true, Budget: link.NewBudget()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		for part := range 8 {
			wg.Go(func() {
				for i := first + part; i < min(n, first+idlePerPeer) && !t.Failed(); i += 8 {
					c, err := d.Open(context.Background(), to, link.Hello{Cell: plainInstance().Cell.ID()})
					if err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
					t.Cleanup(func() { c.Reset() })
					conns[i] = c
				}
			})
		}
		wg.Wait()
	}
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// resident is the memory that a process holds, in bytes.
func resident(t *testing.T, pid int) (bytes int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}
