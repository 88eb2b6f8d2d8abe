package gossip

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// Message is what members tell each other: one of the types below. Messages are immutable once made and may be
// handed to several receivers.
type Message interface{ message() }

// Hello introduces the sender on a new stream.
type Hello struct {
	Record []byte // envelope of the sender's own record
	Count  int    // live members that the sender knows, itself included
	Root   uint64 // digest of their records
	Trust  uint64 // version of the newest trust document that the sender knows
}

// Nonce is random bytes that a subject signs to prove that it is alive now.
type Nonce [16]byte

// Ping asks its receiver for an Ack.
type Ping struct {
	ID    uint64
	Nonce *Nonce   // to be signed by the receiver, or nil
	Voted *Version // the sender has voted this record of the receiver dead, or nil
}

// Ack answers a Ping. With ID 0 it answers none: it only moves the receiver's next one.
type Ack struct {
	ID        uint64
	Next      time.Duration // when to ping again; whole milliseconds
	State     record.State  // of the service
	Seq       uint64        // of the sender's newest record
	Nonce     *Nonce
	Signature []byte // the sender's over Nonce
}

// Push hands over facts that the receiver may not know.
type Push struct {
	Records [][]byte // envelopes
	Deaths  []Death
	Quiet   bool   // not to be passed on at once
	Trust   []byte // a trust document, or nil
}

// Death is a certificate and the time since its making, as far as it is known.
type Death struct {
	Certificate *Certificate
	Age         time.Duration // whole milliseconds
}

// Ask asks a fellow observer to look at a subject itself.
type Ask struct {
	Subject peer.ID
	Version Version
	Nonce   Nonce
}

// Answer answers an Ask, with one of Vote, Alive and Record.
type Answer struct {
	Subject peer.ID
	Nonce   Nonce
	Version Version
	Vote    *Vote
	Alive   []byte // the subject's signature over Nonce
	Record  []byte // a newer record of the subject than the one asked about
}

// Root opens a comparison of what two members know.
type Root struct {
	Root  uint64
	Count int
	Trust uint64 // as in Hello
}

// Buckets answers a Root, or a Hello, that differs from the sender's own.
type Buckets struct {
	Hashes [bucketCount]uint64
	Count  int
}

// IDs lists every live record that the sender holds in the buckets named.
type IDs struct {
	Buckets []byte
	IDs     []ID
}

// ID names one version of a member's record.
type ID struct {
	Peer    peer.ID
	Version Version
	Sum     uint32 // of the envelope
}

// Want asks for what is known of some peers, and ends the answer to IDs.
type Want struct{ Peers []peer.ID }

// Have names deaths whose certificates can be had for a Want; the Sums are 0.
type Have struct{ Deaths []ID }

func (*Hello) message()   {}
func (*Ping) message()    {}
func (*Ack) message()     {}
func (*Push) message()    {}
func (*Ask) message()     {}
func (*Answer) message()  {}
func (*Root) message()    {}
func (*Buckets) message() {}
func (*IDs) message()     {}
func (*Want) message()    {}
func (*Have) message()    {}

// Version orders the records of one member.
type Version struct{ Incarnation, Seq uint64 }

func (v Version) compare(w Version) int {
	switch {
	case v.Incarnation != w.Incarnation:
		return cmpUint(v.Incarnation, w.Incarnation)
	default:
		return cmpUint(v.Seq, w.Seq)
	}
}

func cmpUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
