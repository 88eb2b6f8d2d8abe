//go:build linux && netns

package netns

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/testnet"
)

// addrsOf are the first addresses of hosts of lab.instances.
func addrsOf(subnet byte, from, to int) []netip.Addr {
	var list []netip.Addr
	for n := from; n <= to; n++ {
		list = append(list, netip.AddrFrom4([4]byte{10, 1, subnet, byte(n)}))
	}
	return list
}

func TestNetnsInstanceWhoseLinkIsDownIsGoneAndComesBack(t *testing.T) {
	l := newLab(t)
	all := l.instances(l.network("a"), "10.1.0.%d/16", 4)
	w := l.consumer(l.host("10.1.9.1/16"), all[0].Bootstrap()).watch()
	w.shows(10*time.Second, all)
	gone, rest := all[3], all[:3]
	if err := gone.host.Run("ip", "link", "set", Device, "down"); err != nil {
		t.Fatal(err)
	}
	t.Logf("link down: off every list after %s", l.agree(10*time.Second, rest, rest))
	t.Logf("link down: off a consumer's watch %s later", w.shows(10*time.Second, rest))
	// It has heard nobody, so it suspects itself and keeps its list for 30 s (gossip/DESIGN.md, "Own fitness").
	if err := gone.host.Run("ip", "link", "set", Device, "up"); err != nil {
		t.Fatal(err)
	}
	t.Logf("link up: all list all after %s", l.agree(15*time.Second, all, all))
	t.Logf("link up: in a consumer's watch %s later", w.shows(10*time.Second, all))
}

func TestNetnsInstanceThatSleptIsGoneAndComesBack(t *testing.T) {
	l := newLab(t)
	all := l.instances(l.network("a"), "10.1.0.%d/16", 4)
	w := l.consumer(l.host("10.1.9.1/16"), all[0].Bootstrap()).watch()
	w.shows(10*time.Second, all)
	sleeper, rest := all[3], all[:3]
	if err := syscall.Kill(sleeper.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Logf("asleep: off every list after %s", l.agree(10*time.Second, rest, rest))
	w.shows(10*time.Second, rest)
	holds(l, 10*time.Second, rest, rest)
	if err := syscall.Kill(sleeper.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	t.Logf("awake: all list all after %s", l.agree(10*time.Second, all, all))
	t.Logf("awake: in a consumer's watch %s later", w.shows(10*time.Second, all))
}

func TestNetnsInstanceWhoseAddressChangesIsFoundAgain(t *testing.T) {
	l := newLab(t)
	all := l.instances(l.network("a"), "10.1.0.%d/16", 3)
	moved := all[2]
	old, next := netip.MustParsePrefix("10.1.0.3/16"), netip.MustParsePrefix("10.1.7.77/16")
	if err := moved.host.RemoveAddr(old); err != nil {
		t.Fatal(err)
	}
	if err := moved.host.AddAddr(next); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c := l.consumer(l.host("10.1.9.1/16"), all[0].Bootstrap())
	c.finds(30*time.Second, all)
	var addrs []string
	l.await(30*time.Second, "find prints the new address", func() bool {
		reply, _ := c.find(cellName)
		for _, i := range reply.Instances {
			if addrs = i.Addrs; i.Peer == moved.Peer {
				return within(addrs, next.Addr())
			}
		}
		return false
	}, func() string { return "it has " + join(addrs) })
	t.Logf("found, with its new address in its record, after %s", time.Since(began).Round(time.Millisecond))
	l.agree(10*time.Second, all, all)
}

// splitFor is how long a network is split: 60 s with CELLNODE_NETNS_LONG.
func splitFor() time.Duration {
	if os.Getenv("CELLNODE_NETNS_LONG") != "" {
		return time.Minute
	}
	return 30 * time.Second
}

func TestNetnsEachSideOfASplitGoesOnAndBothMeetAgain(t *testing.T) {
	l := newLab(t)
	l.wire.SetWeather(Weather{MinDelay: 5 * time.Millisecond, MaxDelay: 15 * time.Millisecond})
	all := l.instances(l.network("a"), "10.1.0.%d/16", 6)
	left, right := all[:3], all[3:]
	l.wire.Split(addrsOf(0, 1, 3)...)
	began := time.Now()
	t.Logf("split: left lists its own after %s", l.agree(15*time.Second, left, left))
	t.Logf("split: right lists its own %s later", l.agree(15*time.Second, right, right))
	remaining := splitFor() - time.Since(began)
	holds(l, remaining/2, left, left)
	holds(l, remaining/2, right, right)
	l.wire.Heal()
	t.Logf("healed after %s: all list all after %s", splitFor(), l.agree(15*time.Second, all, all))
}

func TestNetnsTwoNetworksMergeWhenALinkJoinsThem(t *testing.T) {
	l := newLab(t)
	l.wire.Split(addrsOf(1, 1, 3)...)
	one := l.instances(l.network("one"), "10.1.0.%d/16", 3)
	n := l.network("two")
	two := l.instances(n, "10.1.1.%d/16", 2)
	// The third of them knows an entry point in the other network, which it cannot reach yet.
	knowing := l.instance(n, l.host("10.1.1.3/16"), testnet.Spec{Entry: []string{two[0].Bootstrap(), one[0].Bootstrap()}})
	two = append(two, knowing)
	l.agree(20*time.Second, two, two)
	holds(l, 5*time.Second, one, one)
	l.wire.Heal()
	all := append(one, two...)
	t.Logf("joined: all list all after %s", l.agree(2*time.Minute, all, all))
	l.consumer(l.host("10.1.9.1/16"), one[2].Bootstrap()).finds(20*time.Second, all)
}
