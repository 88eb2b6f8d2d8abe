package overlay

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/find"
)

// address is that of the nth node of a network; no two are in one /24.
func address(network, n int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("1.%d.%d.4", network, n))
}

// network starts nodes that enter by the first, each with an instance of the cell, and waits until all know all.
func (v *virtualNet) network(t *testing.T, number, nodes int) []*Node {
	t.Helper()
	var list []*Node
	for n := range nodes {
		var cfg Config
		if n > 0 {
			cfg.Bootstrap = entry(list[0])
		}
		list = append(list, v.start(t, address(number, n), 40000, cfg))
		serveEcho(t, list[n], "echo")
	}
	members(t, time.Minute, nodes, list...)
	return list
}

func entry(n *Node) []peer.AddrInfo {
	return []peer.AddrInfo{{ID: n.ID(), Addrs: n.Host().Addrs()}}
}

// members waits until each of the nodes knows this many members of the cell, and returns how long that took.
func members(t *testing.T, limit time.Duration, want int, nodes ...*Node) time.Duration {
	t.Helper()
	began := time.Now()
	for _, n := range nodes {
		i := n.instances()[0]
		for len(i.gossip.Members()) != want {
			if time.Since(began) > limit {
				t.Fatalf("not within %s: %d members, want %d", limit, len(i.gossip.Members()), want)
			}
			time.Sleep(50 * time.Millisecond) // virtual time
		}
	}
	return time.Since(began)
}

func TestTwoNetworksMergeWhenOneNodeLearnsOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualNet(t, 10*time.Millisecond)
		defer v.net.Close()
		one, two := v.network(t, 1, 3), v.network(t, 2, 3)
		all := append(one, two...)
		defer closeAll(t, all)
		time.Sleep(2 * time.Minute) // both have settled down
		one[2].Set(Settings{Bootstrap: entry(two[1])})
		t.Logf("every instance knew every other after %s", members(t, time.Minute, len(all), all...))

		// Each part of the merged network finds the other through the DHT alone, also those who were told nothing.
		tr, done, err := one[0].Track(find.Request{Cell: exchange}, nil, []string{find.DHT})
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := tr.Settle(ctx)
		if err != nil || !has(two[0])(s.Instances) || !has(one[1])(s.Instances) {
			t.Errorf("found by the DHT: %+v, %v", s.Instances, err)
		}
	})
}

// The node that learns of the other network has no instance itself: it carries the word, and no cell.
func TestInstancesMeetOverABridgeOfPlainNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualNet(t, 10*time.Millisecond)
		defer v.net.Close()
		one, two := v.network(t, 1, 2), v.network(t, 2, 2)
		plain := v.start(t, address(1, 9), 40000, Config{Bootstrap: entry(one[0])})
		other := v.start(t, address(2, 9), 40000, Config{Bootstrap: entry(two[0])})
		all := append(one, two...)
		defer closeAll(t, append(all, plain, other))
		time.Sleep(2 * time.Minute)
		plain.Set(Settings{Bootstrap: entry(other)})
		t.Logf("every instance knew every other after %s", members(t, 6*time.Minute, 4, all...))
	})
}

func TestInstanceWhoseNetworkWasGoneComesBackByItself(t *testing.T) {
	// Shorter than a record lives, and longer.
	for _, away := range []time.Duration{30 * time.Second, 10 * time.Minute, 40 * time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualNet(t, 10*time.Millisecond)
				defer v.net.Close()
				all := v.network(t, 1, 4)
				defer closeAll(t, all)
				gone, others := all[3], all[:3]
				v.pull(address(1, 3))
				t.Logf("the others had noticed after %s", members(t, 15*time.Second, 3, others...))
				time.Sleep(away)
				v.plug(address(1, 3))
				t.Logf("it was back after %s", members(t, time.Minute, 4, all...))
				if s := gone.Status(); s.DHT.State != "joined" {
					t.Errorf("its DHT is %+v", s.DHT)
				}
				t.Logf("found by the DHT after %s", foundByDHT(t, others[1], gone, 5*time.Second))
			})
		})
	}
}

// A whole site that loses its uplink goes on by itself, and is one with the others again when the line is back.
func TestTwoHalvesThatWereCutOffMeetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualNet(t, 10*time.Millisecond)
		defer v.net.Close()
		all := v.network(t, 1, 6)
		defer closeAll(t, all)
		v.split(address(1, 0), address(1, 1), address(1, 2))
		members(t, 30*time.Second, 3, all...)
		time.Sleep(3 * time.Minute)
		v.split()
		t.Logf("all six knew each other after %s", members(t, 6*time.Minute, 6, all...))
	})
}

// foundByDHT asks the DHT anew until it names a node, and returns how long that took.
func foundByDHT(t *testing.T, from, want *Node, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for found := false; !found; {
		err := from.dht.Find(ctx, exchange.ID(), func(p peer.AddrInfo) { found = found || p.ID == want.ID() })
		if err != nil && !found {
			t.Fatalf("not found by the DHT within %s: %v", limit, err)
		}
	}
	return time.Since(began)
}
