package gossip

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// rank orders everything that can be known of one member, and so makes merging commutative, associative and
// idempotent: the highest wins. A higher incarnation always wins. Within one incarnation a leave wins over all else,
// then the higher sequence number, and a death wins over the very record that it names.
type rank struct {
	incarnation, seq uint64
	left, dead       bool
}

func rankOf(r *record.Signed) rank {
	return rank{incarnation: r.Incarnation, left: r.State == record.Leaving, seq: r.Seq}
}

func rankOfDeath(v Version) rank {
	return rank{incarnation: v.Incarnation, seq: v.Seq, dead: true}
}

func (r rank) compare(o rank) int {
	return cmp.Or(
		cmp.Compare(r.incarnation, o.incarnation), compareBool(r.left, o.left),
		cmp.Compare(r.seq, o.seq), compareBool(r.dead, o.dead),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (r rank) alive() bool      { return !r.left && !r.dead }
func (r rank) version() Version { return Version{r.incarnation, r.seq} }

// entry is what is known of one member.
type entry struct {
	id   peer.ID
	rank rank
	// record is the newest one known: of a living member its present one, of one that left its leave, of a dead one
	// its last. It is nil where only a certificate came.
	record      *record.Signed
	sum         uint64       // of the record's envelope
	certificate *Certificate // of a death, while its evidence is kept
	expires     stamp        // when the entry is forgotten

	heard stamp // last own proof of life
	ended stamp // when it was taken off the list, or learned of as gone
	tried stamp // when it was last greeted as one who counts as dead

	dropAt    time.Time // end of a condemned member's window; zero otherwise
	listed    bool      // among Members and on the rings
	suspected bool      // an event has said so
}

// stamp is a moment by the wall clock, in nanoseconds since 1970; 0 is never. It is a third of the size of a time.Time, and a
// large cell has an entry of each member at each member.
type stamp int64

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return 0
	}
	return stamp(t.UnixNano())
}

func (s stamp) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(s))
}

// roster is all that is known of a cell's members: a join-semilattice by member. Its digest covers living members
// alone, so a tombstone is never gossip of its own; it is shown to whoever still believes in the dead.
type roster struct {
	// entries are this member's own; nil stands for one of settled that is forgotten.
	entries map[peer.ID]*entry
	settled map[peer.ID]*entry // of a Census, where entries has none: all living, and read only
	digest  [bucketCount]uint64
	alive   int
}

func newRoster(c *Census) *roster {
	if c == nil {
		return &roster{entries: make(map[peer.ID]*entry)}
	}
	return &roster{
		entries: make(map[peer.ID]*entry), settled: c.roster.entries, digest: c.roster.digest, alive: c.roster.alive,
	}
}

// look returns what is known of a member, or nil, for those who only read it.
func (r *roster) look(id peer.ID) *entry {
	if e, own := r.entries[id]; own {
		return e
	}
	return r.settled[id]
}

// entry returns what is known of a member, or nil.
func (r *roster) entry(id peer.ID) *entry {
	e, own := r.entries[id]
	if shared := r.settled[id]; !own && shared != nil {
		mine := *shared
		e = &mine
		r.entries[id] = e
	}
	return e
}

// all yields everybody who is known, in no order, for those who only read.
func (r *roster) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, e := range r.entries {
			if e != nil && !yield(e) {
				return
			}
		}
		for id, e := range r.settled {
			if _, own := r.entries[id]; !own && !yield(e) {
				return
			}
		}
	}
}

// full reports whether no more may be learned of.
func (r *roster) full() bool { return len(r.entries)+len(r.settled) >= maxEntries }

func bucketOf(id peer.ID) byte { return id[len(id)-1] } // an Ed25519 key's bytes are uniform

func envelopeSum(envelope []byte) uint64 {
	sum := sha256.Sum256(envelope)
	return binary.BigEndian.Uint64(sum[:])
}

// apply merges a verified record and reports whether it taught something. Of two records with one rank, which only a
// faulty owner makes, the one with the higher bytes wins everywhere.
func (r *roster) apply(rec *record.Signed) bool {
	e := r.entry(rec.Peer)
	if e == nil {
		e = &entry{id: rec.Peer}
		r.entries[rec.Peer] = e
	} else if c := rankOf(rec).compare(e.rank); c < 0 || c == 0 && !e.yields(rec) {
		return false
	}
	r.uncount(e)
	e.rank, e.record, e.sum, e.certificate = rankOf(rec), rec, envelopeSum(rec.Envelope), nil
	e.expires = stampOf(rec.Expires.Add(record.Leeway))
	r.count(e)
	return true
}

// yields reports whether a record with the entry's own rank takes the place of the one there.
func (e *entry) yields(rec *record.Signed) bool {
	return e.record != nil && bytes.Compare(rec.Envelope, e.record.Envelope) > 0
}

// evidenceFor is how long the dead and the gone are kept with what proves it, and so can be shown to others and be
// greeted after a partition. Then only their rank stays.
const evidenceFor = time.Hour

// compact drops the evidence about somebody who has not been listed for long.
func (e *entry) compact(now time.Time) {
	if !e.listed && !e.rank.alive() && now.Sub(e.ended.time()) > evidenceFor {
		e.record, e.certificate = nil, nil
	}
}

// dead lists those who count as dead and are off the list, in order, while their records are kept. None of them is settled.
func (r *roster) dead() []peer.ID {
	var out []peer.ID
	for id, e := range r.entries {
		if e != nil && e.rank.dead && !e.listed && e.record != nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// which lists the members whose entries satisfy f, in order.
func (r *roster) which(f func(*entry) bool) []peer.ID {
	var out []peer.ID
	for e := range r.all() {
		if f(e) {
			out = append(out, e.id)
		}
	}
	slices.Sort(out)
	return out
}

// kill merges a certificate that has been found sufficient and reports whether it taught something.
func (r *roster) kill(c *Certificate, now time.Time) bool {
	e := r.entry(c.Subject)
	if e == nil {
		e = &entry{id: c.Subject}
		r.entries[c.Subject] = e
	} else if rankOfDeath(c.Version).compare(e.rank) <= 0 {
		return false
	}
	r.uncount(e)
	e.rank, e.certificate = rankOfDeath(c.Version), c
	e.expires = max(e.expires, stampOf(minTime(c.Expires, now.Add(record.Validity)).Add(record.Leeway)))
	return true
}

// forget removes an entry.
func (r *roster) forget(id peer.ID) {
	if e := r.look(id); e != nil {
		r.uncount(e)
		delete(r.entries, id)
	}
	if r.settled[id] != nil {
		r.entries[id] = nil
	}
}

func (r *roster) count(e *entry) {
	if e.record != nil && e.rank.alive() {
		r.digest[bucketOf(e.id)] ^= e.sum
		r.alive++
	}
}

func (r *roster) uncount(e *entry) {
	if e.record != nil && e.rank.alive() {
		r.digest[bucketOf(e.id)] ^= e.sum
		r.alive--
	}
}

// root is one number for all living members' records: two members with the same root know the same.
func (r *roster) root() uint64 {
	h := sha256.New()
	var n [8]byte
	for _, b := range r.digest {
		binary.BigEndian.PutUint64(n[:], b)
		h.Write(n[:])
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
