package gossip

import (
	"testing"
	"time"
)

// A member keeps connections to those it watches, to those who watch it and to a few more, not to all that it has met:
// here all have met the first.
func TestConnectionsAreClosedWhenNobodyNeedsThem(t *testing.T) {
	if testing.Short() {
		t.Skip("forty hosts; it runs in full without the race detector")
	}
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(40)
		defer func() { stopAll(nodes) }()
		time.Sleep(2 * time.Minute)
		if !agree(nodes) {
			t.Error("somebody is missing")
		}
		sum, most := 0, 0
		for _, n := range nodes {
			conns := len(n.host.Network().Conns())
			sum, most = sum+conns, max(most, conns)
		}
		mean := float64(sum) / float64(len(nodes))
		t.Logf("%.1f connections a member, at most %d", mean, most)
		if p := LAN(); mean > float64(2*p.Rings+2*p.RandomLinks)*1.05 || most > 3*p.Rings+2*p.RandomLinks {
			t.Errorf("%.1f connections a member, at most %d: more than the rings and the random links need", mean, most)
		}
	})
}
