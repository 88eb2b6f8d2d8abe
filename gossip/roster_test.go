package gossip

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/cellnode/cellnode/internal/record"
)

// fact is one thing that can be learned about a member: a record, or a certificate.
type fact struct {
	record *record.Signed
	death  *Certificate
}

func (f fact) apply(r *roster) {
	if f.record != nil {
		r.apply(f.record)
	} else {
		r.kill(f.death, worldStart)
	}
}

// facts draws few peers and versions, so that they collide.
func facts(t *rapid.T) []fact {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fact {
		id := peer.ID(fmt.Sprintf("peer %d", rapid.IntRange(0, 2).Draw(t, "peer")))
		v := Version{rapid.Uint64Range(1, 3).Draw(t, "incarnation"), rapid.Uint64Range(1, 3).Draw(t, "seq")}
		if rapid.Bool().Draw(t, "death") {
			return fact{death: &Certificate{Subject: id, Version: v, Expires: worldStart.Add(time.Hour)}}
		}
		return fact{record: drawRecord(t, id, v)}
	}), 0, 12).Draw(t, "facts")
}

func drawRecord(t *rapid.T, id peer.ID, v Version) *record.Signed {
	in := record.Instance{
		Peer: id, Incarnation: v.Incarnation, Seq: v.Seq,
		State:   rapid.SampledFrom([]record.State{record.Serving, record.Draining, record.Leaving}).Draw(t, "state"),
		Expires: worldStart.Add(time.Hour),
	}
	return &record.Signed{Instance: in, Envelope: fmt.Append(nil, id, v, in.State)}
}

func rosterOf(fs ...fact) *roster {
	r := newRoster(nil)
	for _, f := range fs {
		f.apply(r)
	}
	return r
}

// state is what two rosters that agree must have in common.
func (r *roster) state() string {
	s := fmt.Sprintln(r.alive, r.root())
	for _, id := range r.which(func(*entry) bool { return true }) {
		e := r.look(id)
		s += fmt.Sprintln(id, e.rank)
		if !e.rank.dead {
			s += fmt.Sprintln(string(e.record.Envelope))
		}
	}
	return s
}

func TestMergeIsCommutativeAssociativeAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := facts(t)
		want := rosterOf(fs...).state()
		shuffled := rapid.Permutation(fs).Draw(t, "order")
		if got := rosterOf(shuffled...).state(); got != want {
			t.Fatalf("another order:\n%s\nwant\n%s", got, want)
		}
		if got := rosterOf(append(shuffled, fs...)...).state(); got != want {
			t.Fatalf("everything twice:\n%s\nwant\n%s", got, want)
		}
	})
}

func TestNoOrderResurrectsALeaverWithinItsIncarnation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := facts(t)
		leave := drawRecord(t, "peer 0", Version{2, rapid.Uint64Range(1, 3).Draw(t, "leave")})
		leave.State = record.Leaving
		leave.Envelope = append(leave.Envelope, "leave"...)
		r := rosterOf(rapid.Permutation(append(fs, fact{record: leave})).Draw(t, "order")...)
		if e := r.entries["peer 0"]; e.rank.incarnation <= 2 && !e.rank.left {
			t.Fatalf("%+v after a leave of incarnation 2", e.rank)
		}
	})
}

func TestRefutedDeathNeverWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := facts(t)
		refutation := drawRecord(t, "peer 0", Version{3, 9})
		refutation.State = record.Serving
		r := rosterOf(rapid.Permutation(append(fs, fact{record: refutation})).Draw(t, "order")...)
		if e := r.entries["peer 0"]; e.rank.dead {
			t.Fatalf("%+v although version 3.9 is known", e.rank)
		}
	})
}

func TestHigherIncarnationAlwaysReadmits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := facts(t)
		restart := drawRecord(t, "peer 0", Version{4, 1})
		restart.State = record.Serving
		r := rosterOf(rapid.Permutation(append(fs, fact{record: restart})).Draw(t, "order")...)
		if e := r.entries["peer 0"]; !e.rank.alive() {
			t.Fatalf("%+v although incarnation 4 is known", e.rank)
		}
	})
}

// TestDigestTellsRostersApart says that equal roots mean equal living members, and nothing about the dead.
func TestDigestTellsRostersApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rosterOf(facts(t)...), rosterOf(facts(t)...)
		living := func(r *roster) (s string) {
			for _, id := range slices.Sorted(maps.Keys(r.entries)) {
				if e := r.entries[id]; e.rank.alive() {
					s += string(e.record.Envelope) + "\n"
				}
			}
			return s
		}
		if (a.root() == b.root()) != (living(a) == living(b)) {
			t.Fatalf("roots %x and %x for\n%s\nand\n%s", a.root(), b.root(), living(a), living(b))
		}
	})
}
