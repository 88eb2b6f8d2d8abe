// Package simulations plays on the detector of gossip in virtual time. A World runs many gossip.Machines, unchanged, in
// one goroutine and one order of events that a seed decides, so that whatever happens in it can be had again, to the
// byte. It stands for gossip's driver and for the network: streams on which loss is delay, dials, crashes, pauses, cuts.
//
// Script plays a World by the lines of a text (testdata holds the scenarios, with what they print); the folder study
// measures rows of a table at scale, to be continued where they were stopped. The tests run the real node, too: overlay
// on a virtual network, in virtual time.
package simulations
