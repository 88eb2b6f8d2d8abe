package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// chaosSeeds is how many runs of TestChaosSettles there are; each is another world.
const chaosSeeds = 12

// TestChaosSettles lets everything go wrong for a minute, in an order drawn from the seed, and holds the cell to
// agreeing on who is alive soon after it ends.
func TestChaosSettles(t *testing.T) {
	for seed := range uint64(chaosSeeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed, []Profile{LAN(), WAN()}[seed%2])
			w.wan([]float64{0, 0.05, 0.2}[seed%3])
			n := []int{3, 6, 12, 20}[seed%4]
			w.cell(n)
			c := &chaos{w: w, part: make(map[*modelNode]int)}
			w.cut = func(a, b *modelNode) bool { return c.part[a] != c.part[b] }
			for range 60 {
				c.step()
				w.run(time.Second)
			}
			c.end()
			if !w.runUntil(w.now.Add(2*time.Minute), w.agreed) {
				w.mustAgree()
			}
		})
	}
}

type chaos struct {
	w    *world
	part map[*modelNode]int // nodes in different parts do not reach each other
}

func (c *chaos) step() {
	w := c.w
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	other := w.nodes[(n.index+1+w.rand.IntN(len(w.nodes)-1))%len(w.nodes)]
	switch w.rand.IntN(9) {
	case 0:
		n.crash()
	case 1:
		n.stop()
	case 2, 3:
		if !n.up {
			n.start(other)
		}
	case 4:
		if n.up && !n.paused {
			n.pause(time.Duration(w.rand.Int64N(int64(8 * time.Second))))
		}
	case 5:
		c.part[n] = w.rand.IntN(2)
	case 6:
		clear(c.part)
	case 7:
		if n.up && !n.m.left {
			n.input(func() { n.m.Leave(w.now) })
			w.after(time.Second, n.stop)
		}
	case 8:
		if !n.up {
			n.startAs(uint64(worldStart.UnixMilli())-uint64(w.rand.IntN(1000)), other) // its clock went back
		}
	}
}

// end heals everything, and lets every node hear of another one, as the DHT would. A node that waits in a pause or for
// its stop is given the time.
func (c *chaos) end() {
	clear(c.part)
	c.w.run(10 * time.Second)
	for i, n := range c.w.nodes {
		next := c.w.nodes[(i+1)%len(c.w.nodes)]
		if !n.up || n.m.left {
			n.start()
		}
		n.input(func() { n.m.Join(c.w.now, []peer.AddrInfo{{ID: next.id}}) })
	}
}
