package simulations

import (
	"fmt"
	"testing"
	"time"

	"github.com/cellnode/cellnode/gossip"
)

// chaosSeeds is how many runs of TestChaosSettles there are; each is another world.
const chaosSeeds = 12

// TestChaosSettles lets everything go wrong for a minute, in an order drawn from the seed, and holds the cell to
// agreeing on who is alive soon after it ends.
func TestChaosSettles(t *testing.T) {
	for seed := range uint64(chaosSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := NewWorld(seed, []gossip.Profile{gossip.LAN(), gossip.WAN()}[seed%2])
			anywhere(w, []float64{0, 0.05, 0.2}[seed%3])
			n := []int{3, 6, 12, 20}[seed%4]
			settle(t, w, n)
			c := &chaos{w: w, part: make(map[*Node]int)}
			w.Cut = func(a, b *Node) bool { return c.part[a] != c.part[b] }
			for range 60 {
				c.step()
				w.Run(time.Second)
			}
			c.end()
			agree(t, w, 2*time.Minute)
		})
	}
}

type chaos struct {
	w    *World
	part map[*Node]int // nodes in different parts do not reach each other
}

func (c *chaos) step() {
	w := c.w
	n := w.nodes[w.Rand.IntN(len(w.nodes))]
	other := w.nodes[(n.Index+1+w.Rand.IntN(len(w.nodes)-1))%len(w.nodes)]
	switch w.Rand.IntN(9) {
	case 0:
		n.Crash()
	case 1:
		n.Stop()
	case 2, 3:
		if !n.Present() {
			n.Start(other)
		}
	case 4:
		if n.Present() && !n.paused {
			n.Pause(time.Duration(w.Rand.Int64N(int64(8 * time.Second))))
		}
	case 5:
		c.part[n] = w.Rand.IntN(2)
	case 6:
		clear(c.part)
	case 7:
		n.Leave()
	case 8:
		if !n.Present() {
			n.StartAs(uint64(Start.UnixMilli())-uint64(w.Rand.IntN(1000)), other) // its clock went back
		}
	}
}

// end heals everything, and lets every node hear of another one, as the DHT would. A node that waits in a pause or for
// its stop is given the time.
func (c *chaos) end() {
	clear(c.part)
	c.w.Run(10 * time.Second)
	for i, n := range c.w.nodes {
		next := c.w.nodes[(i+1)%len(c.w.nodes)]
		if !n.Present() {
			n.Start()
		}
		n.Join(next)
	}
}
