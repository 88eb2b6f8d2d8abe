package dht

import "errors"

var (
	// ErrNoPeers says that nobody could be asked: the routing table stayed empty and no entry point answered.
	ErrNoPeers = errors.New("dht: no peer could be asked; name an entry point that is running (bootstrap)")

	// ErrNoAddress says that the host has no address that others could dial, so that kad-dht's servers would refuse
	// the record. On a public network private and loopback addresses do not count.
	ErrNoAddress = errors.New("dht: the host has no address to announce; listen on a reachable one or set advertise")

	// ErrNoHolder says that peers are known and none of them took the record.
	ErrNoHolder = errors.New("dht: no peer took the record")

	// ErrClosed is returned after Close.
	ErrClosed = errors.New("dht: closed")

	// ErrAnnouncing says that the key already has an Announcer.
	ErrAnnouncing = errors.New("dht: this key is being announced already; stop the first Announcer")
)
