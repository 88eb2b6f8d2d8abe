package gossip

import "github.com/libp2p/go-libp2p/core/peer"

// Output is what a Machine wants done: Refuses, Links and Reopens first, then the rest.
type Output struct {
	Sends    []Send
	Connects []peer.AddrInfo // say Hello: on the open stream, or by opening one
	Redials  []peer.AddrInfo // make a fresh transport connection, then call Redialled
	Links    []LinkChange
	Refuses  []peer.ID // no member: end every stream with this peer
	Reopens  []peer.ID // the stream to this peer seems to lead nowhere: end it before sending anything
	Events   []Event
}

// Send is one message to some peers.
type Send struct {
	To      []peer.ID
	Message Message
}

// LinkChange says that the connection to a peer is to be kept, or no longer needed.
type LinkChange struct {
	Peer peer.ID
	Keep bool
}
