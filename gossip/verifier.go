package gossip

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// verifierSize is how many results each of a Verifier's two generations holds, if it is not told: about 1 MiB.
const verifierSize = 8192

// Verifier checks signatures and remembers by hash what it has checked, because in a flood the same bytes come from
// every neighbour. It is not safe for concurrent use. A simulation may give one Verifier to all machines that it runs
// in one goroutine; its answers depend on nothing but the bytes and, for records, the time.
type Verifier struct {
	size       int
	records    cache[verified]
	signatures cache[bool]
	checked    int
}

type verified struct {
	signed *record.Signed
	err    error
}

// NewVerifier returns an empty Verifier.
func NewVerifier() *Verifier { return NewVerifierOf(verifierSize) }

// NewVerifierOf returns an empty Verifier that remembers at least the last size results of each kind, and at most twice as many.
// Who plays thousands of machines needs room for every signature that is under way among them.
func NewVerifierOf(size int) *Verifier { return &Verifier{size: size} }

// Checked returns how many signatures were really computed, for tests and measurements.
func (v *Verifier) Checked() int { return v.checked }

// record opens an envelope. The time is checked on every call, the signature once. Refusals for anything but the
// signature came before it was computed and are cheap to find again.
func (v *Verifier) record(envelope []byte, cell cid.Cid, now time.Time) (*record.Signed, error) {
	h := sha256.New()
	h.Write(cell.Bytes())
	h.Write(envelope)
	key := [32]byte(h.Sum(nil))
	if r, ok := v.records.get(key, v.size); ok {
		if r.signed != nil && now.After(r.signed.Expires.Add(record.Leeway)) {
			return nil, &record.Refusal{Code: record.CodeExpired, Detail: "ended while it was known"}
		}
		return r.signed, r.err
	}
	signed, err := record.Verify(envelope, cell, now)
	var refusal *record.Refusal
	if err == nil || errors.As(err, &refusal) && refusal.Code == record.CodeSig {
		v.checked++
		v.records.put(key, verified{signed, err}, v.size)
	}
	return signed, err
}

// signature reports whether sig is id's over data. Only Ed25519 peers, whose ID holds the key, are known.
func (v *Verifier) signature(id peer.ID, data, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	h := sha256.New()
	h.Write([]byte(id))
	h.Write(sig)
	h.Write(data)
	key := [32]byte(h.Sum(nil))
	if ok, known := v.signatures.get(key, v.size); known {
		return ok
	}
	ok := false
	if pub, err := id.ExtractPublicKey(); err == nil {
		v.checked++
		ok, err = pub.Verify(data, sig)
		ok = ok && err == nil
	}
	v.signatures.put(key, ok, v.size)
	return ok
}

// cache keeps the last size to 2 x size results: when the young generation is full, it becomes the old one. The zero value is
// ready.
type cache[V any] struct{ young, old map[[32]byte]V }

func (c *cache[V]) get(k [32]byte, size int) (V, bool) {
	v, ok := c.young[k]
	if !ok {
		if v, ok = c.old[k]; ok {
			c.put(k, v, size)
		}
	}
	return v, ok
}

func (c *cache[V]) put(k [32]byte, v V, size int) {
	if c.young == nil || len(c.young) >= size {
		c.old, c.young = c.young, make(map[[32]byte]V)
	}
	c.young[k] = v
}
