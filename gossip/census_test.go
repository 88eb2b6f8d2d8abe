package gossip

import (
	"crypto/ed25519"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/cellnode/cellnode/internal/record"
)

// TestCensusMakesNoDifferenceToAMerge holds a roster over a Census to what one says that has learned everything itself.
func TestCensusMakesNoDifferenceToAMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var living []*record.Signed
		for _, id := range []peer.ID{"peer 0", "peer 1"} {
			rec := drawRecord(t, id, Version{2, 2})
			rec.State = record.Serving
			living = append(living, rec)
		}
		census := NewCensus(testCell, WAN(), living, worldStart)
		shared := census.roster.state()
		plain, over := newRoster(nil), newRoster(census)
		for _, rec := range living {
			plain.apply(rec)
		}
		for _, f := range facts(t) {
			f.apply(plain)
			f.apply(over)
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				plain.forget("peer 0")
				over.forget("peer 0")
			}
		}
		if got, want := over.state(), plain.state(); got != want {
			t.Fatalf("over a census:\n%s\nwant\n%s", got, want)
		}
		if census.roster.state() != shared {
			t.Fatal("the census has changed")
		}
	})
}

// machineIn returns a machine with the key of a number, and its record.
func machineIn(t *testing.T, n byte, profile Profile, census func(*record.Signed) *Census) (*Machine, *record.Signed, error) {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(append(make([]byte, 31), n)))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := record.Sign(key, record.Instance{
		Cell: testCell, Incarnation: 1, Seq: 1, State: record.Serving, Issued: worldStart, Expires: worldStart.Add(record.Validity),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMachine(MachineConfig{
		Key: key, Record: rec, Profile: profile, Rand: rand.New(rand.NewPCG(1, uint64(n))), Census: census(rec),
	}, worldStart)
	return m, rec, err
}

// TestMachineBeginsWithItsCensus compares machines that begin with a list with one that has learned it.
func TestMachineBeginsWithItsCensus(t *testing.T) {
	var records []*record.Signed
	none := func(*record.Signed) *Census { return nil }
	for i := range byte(40) {
		_, rec, err := machineIn(t, i, WAN(), none)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rec)
	}
	census := NewCensus(testCell, WAN(), records, worldStart)
	for i := range byte(3) {
		learned, _, err := machineIn(t, i, WAN(), none)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			learned.learn(rec)
		}
		begun, _, err := machineIn(t, i, WAN(), func(*record.Signed) *Census { return census })
		if err != nil {
			t.Fatal(err)
		}
		if got, want := members(begun), members(learned); !slices.Equal(got, want) || len(got) != 40 {
			t.Errorf("machine %d lists %d members, want %d", i, len(got), len(want))
		}
		for _, rec := range records {
			if got, want := begun.Observers(rec.Peer), learned.Observers(rec.Peer); !slices.Equal(got, want) {
				t.Errorf("machine %d: observers %v, want %v", i, got, want)
			}
		}
		if got, want := slices.Sorted(maps.Keys(begun.probes)), begun.rings.subjects(begun.self); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("machine %d watches %v, want %v", i, got, want)
		}
		if out := begun.Take(); len(out.Events) > 0 {
			t.Errorf("machine %d tells of %d members that it has always known", i, len(out.Events))
		}
	}
}

func members(m *Machine) []peer.ID {
	var out []peer.ID
	for _, member := range m.Members() {
		out = append(out, member.Record.Peer)
	}
	slices.Sort(out)
	return out
}

func TestCensusThatDoesNotFitIsRefused(t *testing.T) {
	few := WAN()
	few.Rings, few.Quorum = 4, 3
	for want, make := range map[string]func(rec *record.Signed) *Census{
		"another cell":    func(rec *record.Signed) *Census { return NewCensus(otherCell, WAN(), nil, worldStart) },
		"another profile": func(rec *record.Signed) *Census { return NewCensus(testCell, few, []*record.Signed{rec}, worldStart) },
		"has turned": func(rec *record.Signed) *Census {
			return NewCensus(testCell, WAN(), []*record.Signed{rec}, worldStart.Add(-4*time.Hour))
		},
	} {
		if _, _, err := machineIn(t, 1, WAN(), make); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
