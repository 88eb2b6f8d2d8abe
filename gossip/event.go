package gossip

import (
	"time"

	"github.com/cellnode/cellnode/internal/record"
)

// Status is what this member thinks of another one that is still listed.
type Status uint8

// The statuses of a Member.
const (
	Alive   Status = iota
	Suspect        // it failed an own probe, or a certificate against it waits for a refutation
)

// String returns alive or suspect.
func (s Status) String() string {
	if s == Suspect {
		return "suspect"
	}
	return "alive"
}

// Member is one instance of the cell as this one sees it.
type Member struct {
	Record *record.Signed // its newest record
	Status Status
	// Heard is when this instance itself last had proof of the member's life: an exchange with it, or a new record.
	// A member observed by others may be silent here for hours and well.
	Heard time.Time
	Self  bool
}

// Kind says what happened to a member.
type Kind uint8

// The kinds of an Event.
const (
	Joined    Kind = iota + 1 // new here, or back from the dead
	Updated                   // has a newer record
	Suspected                 // Status became Suspect
	Refuted                   // a suspect is alive after all
	Dead                      // no longer listed: certified dead
	Left                      // no longer listed: said goodbye; Record is its signed leave
	Expired                   // no longer listed: its record ended
	Revoked                   // no longer listed: a trust document has taken its grant back
	// Twin changes no list: somewhere else another process signs with the own key, and lives; Record is one of its records.
	Twin
)

var kindNames = [...]string{
	Joined: "joined", Updated: "updated", Suspected: "suspected", Refuted: "refuted",
	Dead: "dead", Left: "left", Expired: "expired", Revoked: "revoked", Twin: "twin",
}

// String returns the kind in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// Event is a change of the list of members, or word of a Twin.
type Event struct {
	Kind   Kind
	Member Member
}
