package dht

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/multiformats/go-multihash"
)

// regionMaxBits is the longest prefix that targets are ground for: 90,000 hashes, some 10 ms.
const regionMaxBits = 12

// position is a place in the key space: the SHA-256 of a key's multihash, or of a peer's id.
type position [sha256.Size]byte

func at(preimage string) position { return sha256.Sum256([]byte(preimage)) }

// prefixLen returns the number of leading bits that two positions share.
func prefixLen(a, b position) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return 8 * len(a)
}

// distance returns the XOR distance of two positions as a fraction of the key space, in [0, 1).
func distance(a, b position) float64 {
	return float64(binary.BigEndian.Uint64(a[:8])^binary.BigEndian.Uint64(b[:8])) / (1 << 63) / 2
}

// bitsAt returns the n bits of p that follow its first skip bits; skip+n is at most 64.
func bitsAt(p position, skip, n int) uint64 {
	return binary.BigEndian.Uint64(p[:8]) << skip >> (64 - n)
}

// regionBits returns the length of the prefix that a key shares with its region: log2(n/k)-1, so that between 2k and 4k
// of n peers lie inside. An attacker who grinds k ids closest to the key owns every ordinary look-up of it, but must
// own the region to hide a record that is kept and sought in all of it (SR-DHT-Store, arXiv 2505.01139).
func regionBits(n float64, k int) int {
	if n <= float64(2*k) {
		return 0
	}
	return min(int(math.Log2(n/float64(k)))-1, regionMaxBits)
}

// targets returns a random preimage in each of the 2^split equal parts of the region that shares its first bits with
// centre. They are found by trial, some 22·2^shared hashes at split 3; being random, they cannot be ground against.
func targets(centre position, shared, split int) []string {
	out := make([]string, 1<<split)
	id := randomID()
	for left := len(out); left > 0; {
		binary.BigEndian.PutUint64(id[2:], binary.BigEndian.Uint64(id[2:])+1)
		p := position(sha256.Sum256(id))
		if prefixLen(centre, p) < shared {
			continue
		}
		if part := &out[bitsAt(p, shared, split)]; *part == "" {
			*part = string(id)
			left--
		}
	}
	return out
}

func randomTargets(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = string(randomID())
	}
	return out
}

// randomID has the form of a SHA-256 multihash, because servers of other makers check it.
func randomID() []byte {
	id := make([]byte, 2+sha256.Size)
	_, _ = rand.Read(id) // never fails
	id[0], id[1] = multihash.SHA2_256, sha256.Size
	return id
}
