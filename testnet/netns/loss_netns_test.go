//go:build linux && netns

package netns

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

// A live instance must stay on every list for idleFor before the kills and during them.
const idleFor = time.Minute

func TestNetnsDeathIsNoticedAndNoLifeIsLostUnderPacketLoss(t *testing.T) {
	for _, row := range []struct {
		loss  float64
		limit time.Duration // kill -9 → off every list
	}{{0, 5 * time.Second}, {0.05, 5 * time.Second}, {0.20, 8 * time.Second}} {
		t.Run(fmt.Sprintf("%.0f%%", 100*row.loss), func(t *testing.T) {
			l := newLab(t)
			weather := Weather{Loss: row.loss, MinDelay: 20 * time.Millisecond, MaxDelay: 50 * time.Millisecond}
			l.wire.SetWeather(weather)
			began := time.Now()
			all := l.instances(l.network("a"), "10.1.0.%d/16", 8)
			t.Logf("eight started, all list all after %s", time.Since(began).Round(time.Millisecond))
			holds(l, idleFor, all, all)
			killed := map[string]bool{}
			var took []time.Duration
			for range 3 {
				victim := all[len(all)-1]
				all = all[:len(all)-1]
				killed[victim.Peer] = true
				at := time.Now()
				if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				l.agree(row.limit, all, all)
				for _, m := range all {
					took = append(took, l.removed(m, victim.Peer).Sub(at))
				}
			}
			lost := 0
			for _, m := range all {
				for _, e := range l.removals(m) {
					if !killed[e.Peer] {
						t.Errorf("node %d dropped a live instance: %+v", m.Index, e)
						lost++
					}
				}
			}
			slices.Sort(took)
			tally := l.wire.Tally()
			t.Logf("FIGURES loss=%.0f%% one-way-delay=%s-%s instances=8 kills=3 median=%.2fs max=%.2fs false-deaths=%d idle=%s packets=%d lost=%d",
				100*row.loss, weather.MinDelay, weather.MaxDelay, took[len(took)/2].Seconds(), took[len(took)-1].Seconds(), lost, idleFor, tally.Sent, tally.Lost)
		})
	}
}

// removals are the events by which somebody came off an instance's list.
func (l *lab) removals(m member) []daemon.Event {
	l.t.Helper()
	c := m.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	var list []daemon.Event
	err := c.Events(ctx, 1, false, func(e daemon.Event) error {
		if slices.Contains([]string{"dead", "left", "expired"}, e.Kind) {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		l.t.Fatalf("events of node %d: %v", m.Index, err)
	}
	return list
}

// removed is when a peer last came off an instance's list.
func (l *lab) removed(m member, peer string) time.Time {
	l.t.Helper()
	var at time.Time
	for _, e := range l.removals(m) {
		if e.Peer == peer {
			at = e.At
		}
	}
	if at.IsZero() {
		l.t.Fatalf("node %d has no event of the end of %s", m.Index, peer)
	}
	return at
}
