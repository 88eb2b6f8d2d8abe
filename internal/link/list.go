package link

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// A List is what an instance says of the other instances of its cell, or a change of that. Every record in it is
// verified: an answerer can omit, not invent.
type List struct {
	// ETag names this state of the list; at most 64 bytes.
	ETag []byte
	// NotModified: the list is the one whose ETag was given, and nothing else is set.
	NotModified bool
	// Full: Members are all that there are to tell. Otherwise they are added or renewed.
	Full    bool
	Members []Member
	Gone    []Gone
	// Trust is a trust document newer than the one that the Hello names, unverified; nil otherwise.
	Trust []byte
	// Refused counts the entries that a Dialer dropped because their record was not valid.
	Refused int
}

// A Member is an instance in a List.
type Member struct {
	Record *record.Signed
	// Age is the time since the answerer's last sign of life of it, in whole milliseconds.
	Age     time.Duration
	Suspect bool // some say that it does not answer
}

// A Gone is an instance that has ended, in the answerer's view.
type Gone struct {
	Peer        peer.ID
	Incarnation uint64
	Reason      string // Left, Dead, Expired or Revoked
	// Leave is its own goodbye, a record with State Leaving; nil unless Reason is Left.
	Leave *record.Signed
}

// The reasons of a Gone.
const (
	Left    = "left"
	Dead    = "dead"
	Expired = "expired"
	Revoked = "revoked"
)

// empty reports whether l is a sign of life and no more.
func (l *List) empty() bool {
	return len(l.ETag) == 0 && !l.NotModified && !l.Full && len(l.Members) == 0 && len(l.Gone) == 0 && l.Refused == 0 && l.Trust == nil
}
