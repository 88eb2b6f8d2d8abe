// Package gossip knows who of one cell is alive.
//
// Machine is the detector: a pure state machine. Messages and ticks go in with the time at which they happen;
// messages, dials, events and the next deadline come out. It has no goroutine, socket, clock or disk, and its only
// randomness is a *rand.Rand that it is given, so a run is replayed exactly by its seed.
//
// Gossip is the driver that runs one Machine on long-lived libp2p streams. DESIGN.md in this folder has the rules,
// where they come from, and what is not promised.
package gossip
