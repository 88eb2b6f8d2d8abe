package dht

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// RingStart and RingStop bound the number of members of one cell that announce. A member starts when fewer than
	// RingStart others come before it and stops when RingStop do, so that small differences between the members'
	// lists start and stop nobody, and at least RingStart announce whatever the size of the cell. GET_PROVIDERS has
	// no limit: 10,000 providers of one key are 0.65 MB in every answer, 32 are 2 KB.
	RingStart, RingStop = 16, 32

	// EpochLength is how long an order of the ring holds. Records of those who stop outlive the change by ten minutes.
	EpochLength = time.Hour
)

// Epoch numbers the order of the ring at time t. Clocks need not agree: whoever is late announces a little longer.
func Epoch(t time.Time) uint64 { return uint64(t.Unix() / int64(EpochLength/time.Second)) }

// Announces says whether self announces key in this epoch. members are the cell's, as self knows them, in any order,
// with or without self; announcing is what self did so far. The members are ordered by H(epoch, key, peer), so
// everyone with the same list names the same announcers, and each epoch names others. A node without a list always
// announces. The cost is one SHA-256 a member: 2 ms at 10,000.
func Announces(epoch uint64, key cid.Cid, self peer.ID, members []peer.ID, announcing bool) bool {
	before := Rank(epoch, key, self, members)
	return before < RingStart || announcing && before < RingStop
}

// Rank is how many of the members come before self in the order of an epoch.
func Rank(epoch uint64, key cid.Cid, self peer.ID, members []peer.ID) int {
	own := ringPlace(epoch, key, self)
	before := 0
	for _, m := range members {
		if m == self {
			continue
		}
		if p := ringPlace(epoch, key, m); bytes.Compare(p[:], own[:]) < 0 {
			before++
		}
	}
	return before
}

func ringPlace(epoch uint64, key cid.Cid, p peer.ID) [sha256.Size]byte {
	b := make([]byte, 0, 128)
	b = append(b, "cell/ring/v1\x00"...)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = append(b, key.Hash()...) // a multihash tells its own length
	b = append(b, p...)
	return sha256.Sum256(b)
}
