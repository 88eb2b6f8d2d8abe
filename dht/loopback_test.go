package dht

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
)

// onLoopback starts n nodes on real sockets, the first being the entry point of the others.
func onLoopback(t testing.TB, n int, c Config) []*DHT {
	t.Helper()
	c.Server = true
	var out []*DHT
	for range n {
		c.Host = loopbackHost(t)
		d, err := New(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		if out = append(out, d); len(out) == 1 {
			c.Bootstrap = entry(d)
		}
	}
	for _, d := range out {
		if n > 1 && !d.table.filled(context.Background(), 20*time.Second) {
			t.Fatal("a table stays empty")
		}
	}
	return out
}

func loopbackHost(t testing.TB, more ...libp2p.Option) host.Host {
	h, err := libp2p.New(append(more,
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(quic.NewTransport),
		libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.ResourceManager(&network.NullResourceManager{}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestLoopbackWorksAsItIs(t *testing.T) {
	nodes := onLoopback(t, 4, Config{})
	a, err := nodes[3].StartAnnouncing(testKey("exchange"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("not ready: %+v", a.Status())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found := false
	if err := nodes[1].Find(ctx, a.key, func(i peer.AddrInfo) { found = found || i.ID == nodes[3].host.ID() }); err != nil || !found {
		t.Errorf("found %v, err %v", found, err)
	}
}

// BenchmarkLoopback announces and finds in a network of 50, one process: go test -bench Loopback -run '^$'.
func BenchmarkLoopback(b *testing.B) {
	for name, c := range map[string]Config{"k=20": {}, "lean": {Lean: true}} {
		b.Run(name, func(b *testing.B) {
			nodes := onLoopback(b, 50, c)
			time.Sleep(5 * time.Second) //allow:sleep a benchmark: the refreshes of the start are not what it measures
			var announce, first, whole, plain time.Duration
			for i := 0; b.Loop(); i++ {
				key := testKey(time.Now().String())
				from, to := nodes[i%50], nodes[(i*7+13)%50]
				start := time.Now()
				if a, err := from.Announce(context.Background(), key, nil); err != nil || !a.ReadBack {
					b.Fatal(a, err)
				}
				announce += time.Since(start)

				start = time.Now()
				var seen time.Duration
				if err := to.Find(context.Background(), key, func(peer.AddrInfo) { seen = time.Since(start) }); err != nil {
					b.Fatal(err)
				}
				first, whole = first+seen, whole+time.Since(start)

				start = time.Now()
				for range to.kad.FindProvidersAsync(context.Background(), key, 0) {
				}
				plain += time.Since(start)
			}
			n := float64(b.N) * 1e6
			b.ReportMetric(float64(announce)/n, "ms/announce")
			b.ReportMetric(float64(first)/n, "ms/first")
			b.ReportMetric(float64(whole)/n, "ms/whole")
			b.ReportMetric(float64(plain)/n, "ms/kad-walk")
			b.ReportMetric(0, "ns/op")
		})
	}
}
