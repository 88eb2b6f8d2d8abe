//go:build linux && netns

package netns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/testnet"
)

func TestNetnsUDPAloneIsEnough(t *testing.T) {
	l := newLab(t)
	l.wire.Carry(UDP, ICMP)
	all := l.instances(l.network("a"), "10.1.0.%d/16", 3)
	t.Logf("found by one entry point after %s", l.consumer(l.host("10.1.9.1/16"), all[1].Bootstrap()).finds(15*time.Second, all))
}

func TestNetnsIPv6AloneIsEnough(t *testing.T) {
	l := newLab(t)
	all := l.instances(l.network("a"), "fd01::%d/64", 3)
	c := l.consumer(l.host("fd01::99/64"), all[1].Bootstrap())
	t.Logf("found by one entry point after %s", c.finds(15*time.Second, all))
	reply, _ := c.find(cellName)
	for _, i := range reply.Instances {
		if !within(i.Addrs, netip.MustParseAddr(fmt.Sprintf("fd01::%d", 1+slices.IndexFunc(all, func(m member) bool { return m.Peer == i.Peer })))) {
			t.Errorf("%s has the addresses %s", i.Peer, join(i.Addrs))
		}
	}
}

// Nodes speak UDP among each other, so without it instances do not meet; but each is served from the seeds of a
// consumer's Cell.lock, over TCP.
func TestNetnsTCPAloneServesFromSeeds(t *testing.T) {
	l := newLab(t)
	l.wire.Carry(TCP, ICMP)
	n := l.network("a")
	var all []member
	for i := range 2 {
		all = append(all, l.instance(n, l.host(fmt.Sprintf("10.1.0.%d/16", i+1)), testnet.Spec{}))
	}
	c := l.consumer(l.host("10.1.9.1/16"))
	c.lock(all)
	began := time.Now()
	reply, code := c.find("echo")
	took := time.Since(began)
	if code != 0 || !slices.Equal(replied(reply), peersOf(all)) || took > 15*time.Second {
		t.Errorf("find ended with %d after %s and prints %s", code, took, join(replied(reply)))
	}
	for _, i := range reply.Instances {
		if !strings.Contains(i.Path, "tcp") {
			t.Errorf("%s is reached by %s", i.Peer, i.Path)
		}
	}
	t.Logf("find took %s", took.Round(time.Millisecond))
	s := l.status(all[1])
	t.Logf("status of an instance without UDP: dht %+v, notes %q", s.DHT, s.Notes)
	if s.DHT.Peers != 0 {
		t.Errorf("its DHT knows somebody: %+v", s.DHT)
	}
}

// lock gives the consumer a Cell.toml that names the cell echo, and a Cell.lock with these seeds.
func (c *consumer) lock(seeds []member) {
	c.l.t.Helper()
	toml := fmt.Sprintf("[cell.echo]\ngit = %q\ntag = %q\n[cell.echo.policy]\nallow_open = true\n", cellRepository, cellTag)
	cell, err := manifest.NewCell(cellRepository, cellTag)
	if err != nil {
		c.l.t.Fatal(err)
	}
	commit, err := exec.Command("git", "-C", c.l.cell, "rev-parse", cellTag).Output()
	if err != nil {
		c.l.t.Fatal(err)
	}
	locked := manifest.LockedCell{Name: "echo", Cell: cell, Git: cellRepository, Commit: strings.TrimSpace(string(commit))}
	for _, m := range seeds {
		locked.Seeds = append(locked.Seeds, c.seed(m))
	}
	slices.SortFunc(locked.Seeds, func(a, b manifest.Seed) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
	lock := manifest.Lock{Cells: []manifest.LockedCell{locked}}
	data, err := lock.Marshal()
	if err != nil {
		c.l.t.Fatal(err)
	}
	for name, text := range map[string][]byte{"Cell.toml": []byte(toml), "Cell.lock": data} {
		if err := os.WriteFile(filepath.Join(c.home, name), text, 0o600); err != nil {
			c.l.t.Fatal(err)
		}
	}
}

// seed is an instance as a list of seeds names it.
func (c *consumer) seed(m member) manifest.Seed {
	c.l.t.Helper()
	id, err := peer.Decode(m.Peer)
	if err != nil {
		c.l.t.Fatal(err)
	}
	seed := manifest.Seed{Peer: id}
	addrs := slices.Sorted(slices.Values(m.Addrs))
	for _, text := range addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			c.l.t.Fatal(err)
		}
		seed.Addrs = append(seed.Addrs, a)
	}
	return seed
}
