package gossip

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// The signing domains. A signature of one kind is never valid as another, nor for another cell.
const (
	domainVote  = "cell/vote/v1"
	domainAlive = "cell/alive/v1"
)

const (
	// MaxVotes bounds a certificate: the quorum of the largest mesh, with room to spare.
	MaxVotes = 16
	// MaxWaited bounds a vote's claim; it is far above any loneAfter.
	MaxWaited = 10 * time.Minute
)

// Vote is a member's signed word that one record of a subject no longer answers it. It names the exact version, so
// any newer record of the subject makes it void.
type Vote struct {
	Voter     peer.ID
	At        time.Time     // whole milliseconds, by the voter's clock
	Waited    time.Duration // how long the voter had suspected the subject; whole milliseconds
	Signature []byte
}

// Certificate is the death of one record of a member: enough votes of different observers. It verifies by itself,
// because an Ed25519 peer ID holds the key.
type Certificate struct {
	Subject peer.ID
	Version Version
	Expires time.Time // of the record; not signed, only bounds how long a tombstone is kept
	Votes   []Vote
}

// size is about how many bytes a certificate takes on the wire.
func (c *Certificate) size() int { return 90 + 112*len(c.Votes) }

// signable joins a domain and fields so that no two different lists give the same bytes.
func signable(domain string, fields ...[]byte) []byte {
	b := append([]byte(domain), 0)
	for _, f := range fields {
		b = appendField(b, f)
	}
	return b
}

func appendField[F ~string | ~[]byte](b []byte, field F) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(field))), field...)
}

func voteBytes(cell cid.Cid, subject peer.ID, v Version, vote *Vote) []byte {
	var n [32]byte
	binary.BigEndian.PutUint64(n[0:], v.Incarnation)
	binary.BigEndian.PutUint64(n[8:], v.Seq)
	binary.BigEndian.PutUint64(n[16:], uint64(vote.At.UnixMilli()))
	binary.BigEndian.PutUint64(n[24:], uint64(vote.Waited.Milliseconds()))
	return signable(domainVote, cell.Bytes(), []byte(subject), n[:])
}

func aliveBytes(cell cid.Cid, subject peer.ID, nonce Nonce) []byte {
	return signable(domainAlive, cell.Bytes(), []byte(subject), nonce[:])
}

// SignVote makes the vote of a member whose key this is. A Machine votes by itself; this is for whoever plays a liar.
func SignVote(key crypto.PrivKey, self peer.ID, cell cid.Cid, subject peer.ID, v Version, now time.Time, waited time.Duration) (Vote, error) {
	vote := Vote{Voter: self, At: now.Truncate(time.Millisecond), Waited: min(waited, MaxWaited).Truncate(time.Millisecond)}
	sig, err := key.Sign(voteBytes(cell, subject, v, &vote))
	vote.Signature = sig
	return vote, err
}

// votesWithin is how far apart the votes of a certificate may have been made, two clocks between them: a voter renews its vote each
// Retry. Nobody can keep a vote for the day on which others come.
const votesWithin = record.Leeway + time.Minute

// enough reports whether votes condemn a member of a cell of n. Votes of voters who have waited longer count for
// more: k votes suffice if the profile asks for no more than k of voters who all waited as long as the k-th of them.
// Votes made too long before the newest do not count.
func (p Profile) enough(n int, votes []Vote) bool {
	var newest time.Time
	for i := range votes {
		if votes[i].At.After(newest) {
			newest = votes[i].At
		}
	}
	waited := make([]time.Duration, 0, len(votes))
	for i := range votes {
		if newest.Sub(votes[i].At) <= votesWithin {
			waited = append(waited, votes[i].Waited)
		}
	}
	slices.SortFunc(waited, func(a, b time.Duration) int { return int(b - a) })
	for i, w := range waited {
		if i+1 >= p.votesNeeded(n, w) {
			return true
		}
	}
	return false
}

// tolerance is by how many members the views of two members may differ without one refusing the other's
// certificate for its number of votes.
const tolerance = 2

// enoughForOthers is enough for a certificate made by another member, whose view may differ a little from ours. The
// single vote of a cell of two is taken only where we see two ourselves.
func (p Profile) enoughForOthers(n int, votes []Vote) bool {
	if n <= 2 {
		return p.enough(n, votes)
	}
	for m := max(3, n-tolerance); m <= n+tolerance; m++ {
		if p.enough(m, votes) {
			return true
		}
	}
	return false
}
