package overlay

import (
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestTwoMachinesWithOneKeyAreNamed starts two nodes with one key beside an instance that both meet.
func TestTwoMachinesWithOneKeyAreNamed(t *testing.T) {
	other := newNode(t)
	serveEcho(t, other, "other")
	cfg := Config{Key: newKey(t), Listen: loopback, Bootstrap: []peer.AddrInfo{{ID: other.ID(), Addrs: other.Host().Addrs()}}}
	var twins []*Node
	for range 2 {
		n, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		serveEcho(t, n, "twin")
		twins = append(twins, n)
	}
	named := func(n, by *Node) bool {
		for _, note := range by.Notes() {
			if strings.Contains(note, "with the same key, at "+n.Listening()[0].String()) {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(20 * time.Second); !named(twins[0], twins[1]) && !named(twins[1], twins[0]); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("20 s later neither node names the other: %q, %q", twins[0].Notes(), twins[1].Notes())
		}
	}
	if len(other.Notes()) > 0 {
		t.Errorf("the bystander says %q", other.Notes())
	}
}
