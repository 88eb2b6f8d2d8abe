package simulations

import (
	"fmt"
	"hash/fnv"
	"time"
)

// Links gives all pairs of nodes one latency, one way.
func (w *World) Links(oneWay time.Duration) {
	w.Latency = func(a, b *Node) time.Duration { return oneWay }
}

// Anywhere gives every pair of nodes its own one-way latency between 10 and 150 ms.
func (w *World) Anywhere() {
	w.Latency = func(a, b *Node) time.Duration {
		h := fnv.New32a()
		fmt.Fprint(h, min(a.Index, b.Index), max(a.Index, b.Index))
		return 10*time.Millisecond + time.Duration(h.Sum32()%140)*time.Millisecond
	}
}

func (w *World) cut(a, b *Node) bool { return w.Cut != nil && w.Cut(a, b) }

// reach reports whether packets go both ways, as a handshake needs.
func (w *World) reach(a, b *Node) bool { return !w.cut(a, b) && !w.cut(b, a) }

// lossDelay is what lost packets cost on a stream: retransmission after 2 RTT, within 200 ms to 1 s, doubling.
func (w *World) lossDelay(rtt time.Duration) time.Duration {
	var d time.Duration
	rto := min(max(2*rtt, 200*time.Millisecond), time.Second)
	for w.Loss > 0 && w.Rand.Float64() < w.Loss && d < 30*time.Second {
		d += rto
		rto *= 2
	}
	return d
}
