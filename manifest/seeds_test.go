package manifest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"pgregory.net/rapid"
)

// peers are Ed25519 peer IDs, sorted as text.
var peers = []string{
	"12D3KooWA1b5mmeh9Q87eNCJbBEcKSDV6PDbQ6EkHNMxZpGJUk2L",
	"12D3KooWBeaf8Zm8bUkQPLLKUVAkuuHKEWhnWgiDKyp6dRgKQ4F8",
	"12D3KooWSMrUrVCQEfpRRAqCFYoCNLfGRZJcPpTPN4h4aWCLUTLY",
}

func newPeer(t *rapid.T, label string) peer.ID {
	key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label)
	return peer.ID(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, key...)) // identity multihash of an Ed25519 key
}

func genSeeds() *rapid.Generator[[]Seed] {
	return rapid.Custom(func(t *rapid.T) []Seed {
		seen := map[peer.ID]bool{}
		seeds := []Seed{}
		for range rapid.IntRange(0, 6).Draw(t, "seeds") {
			s := Seed{Peer: newPeer(t, "peer")}
			for range rapid.IntRange(0, MaxSeedAddrs).Draw(t, "addrs") {
				ip := rapid.IntRange(1, 254).Draw(t, "ip")
				port := rapid.IntRange(1, 65535).Draw(t, "port")
				form := rapid.SampledFrom([]string{"/ip4/203.0.113.%d/udp/%d/quic-v1", "/ip6/2001:db8::%x/tcp/%d/tls", "/dns4/a%d.example.org/udp/%d/quic-v1"}).Draw(t, "form")
				s.Addrs = append(s.Addrs, ma.StringCast(fmt.Sprintf(form, ip, port)))
			}
			s.Addrs = sortAddrs(s.Addrs)
			if len(s.Addrs) == 0 || rapid.Bool().Draw(t, "with record") {
				s.Record = rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "record")
			}
			if !seen[s.Peer] {
				seeds = append(seeds, s)
			}
			seen[s.Peer] = true
		}
		sortSeeds(seeds)
		return seeds
	})
}

func TestSeedListRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &SeedList{Instances: genSeeds().Draw(t, "list")}
		if rapid.Bool().Draw(t, "with cell") {
			l.Cell = exchange.ID()
			l.Updated = time.Unix(rapid.Int64Range(1, 1<<34).Draw(t, "updated"), 0).UTC()
		}
		data, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseSeedList("instances.json", data)
		if err != nil || !reflect.DeepEqual(back, l) {
			t.Fatalf("%v\n%s\n%+v\n%+v", err, data, back, l)
		}
	})
}

// The same instances in any order are the same file.
func TestSeedListBytesDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seeds := genSeeds().Draw(t, "list")
		mixed := rapid.Permutation(seeds).Draw(t, "mixed")
		a, errA := (&SeedList{Instances: seeds}).Marshal()
		b, errB := (&SeedList{Instances: mixed}).Marshal()
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%v, %v\n%s\n%s", errA, errB, a, b)
		}
	})
}

func TestSeedAddressesAsPeopleWriteThem(t *testing.T) {
	l, err := ParseSeedList("Cells.json", []byte(`{"instances": [
		{"peer": "`+peers[1]+`", "addrs": ["/ip4/203.0.113.7/udp/40000/quic-v1/p2p/`+peers[1]+`", "/ip4/203.0.113.7/udp/40000/quic-v1"]},
		{"peer": "`+peers[0]+`", "addrs": [], "record": "AQ=="}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	if l.Instances[0].Peer.String() != peers[0] || l.Cell.Defined() || !l.Updated.IsZero() {
		t.Errorf("%+v", l)
	}
	if got := l.Instances[1].Addrs; len(got) != 1 || got[0].String() != "/ip4/203.0.113.7/udp/40000/quic-v1" {
		t.Errorf("addresses %v", got)
	}
}

func TestBadSeedListsAreRefused(t *testing.T) {
	seed := func(fields string) string { return `{"instances": [{"peer": "` + peers[0] + `", ` + fields + `}]}` }
	ok := `"addrs": ["/ip4/203.0.113.7/udp/40000/quic-v1"]`
	for text, want := range map[string]string{
		``:                                       "is not JSON: it ends too early",
		`{`:                                      "is not JSON",
		`[]`:                                     "is an array where an object is expected",
		`{}`:                                     "has no instances",
		`null`:                                   "has a null",
		`{"instances": []} x`:                    "has text behind its JSON value",
		`{"instances": []}{}`:                    "has text behind its JSON value",
		`{"instances": [],}`:                     "is not JSON",
		`{"instances": null}`:                    "has a null",
		`{"instances": {}}`:                      "instances is a table; write an array",
		`{"Instances": []}`:                      "Instances is not a known key; did you mean instances?",
		`{"instances": [], "instances": []}`:     `has the key "instances" twice`,
		"{\n\n\"instances\": [],\n\"peers\": 1}": "instances.json:4: peers is not a known key",
		"{\"instances\": [\"\xff\"]}":            "is not valid UTF-8",
		`{"instances": [1]}`:                     "instances[0] is an integer where an object is expected",
		`{"instances": [{}]}`:                    `instances[0].peer is "", which is not a peer ID`,
		`{"instances": [{"peer": "x"}]}`:         `instances[0].peer is "x", which is not a peer ID`,
		`{"cell": "x", "instances": []}`:         `cell is "x", which is not a cell's key`,
		`{"cell": "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", "instances": []}`:                       "which is not a cell's key",
		`{"updated": "today", "instances": []}`:                                                             "updated is \"today\"",
		`{"updated": "1969-01-01T00:00:00Z", "instances": []}`:                                              "updated is",
		`{"updated": 5, "instances": []}`:                                                                   "updated is an integer; write a string",
		seed(`"addrs": []`):                                                                                 "has neither addrs nor a record",
		seed(`"addrs": ["x"]`):                                                                              `addrs has "x": it is not a multiaddr`,
		seed(`"addrs": [1]`):                                                                                "addrs[0] is an integer",
		seed(`"addrs": ["/p2p/` + peers[0] + `"]`):                                                          "has no transport",
		seed(`"addrs": ["/ip4/1.2.3.4/tcp/1/p2p/` + peers[1] + `"]`):                                        "names another peer",
		seed(`"addrs": ["/ip4/1.2.3.4/tcp/1/p2p/` + peers[1] + `/p2p-circuit"]`):                            "through a relay",
		seed(`"addrs": ["/ip4/1.2.3.4/tcp/1/p2p/` + peers[1] + `/p2p-circuit/p2p/` + peers[0] + `"]`):       "through a relay",
		seed(`"addrs": [` + strings.Repeat(`"/ip4/1.2.3.4/tcp/1",`, 4) + `"/ip4/1.2.3.4/tcp/2"]`):           "has 5 elements; at most 4",
		seed(`"addrs": ["/dns4/` + long("a", 300) + `/tcp/1"]`):                                             "is longer than 256 bytes",
		seed(ok + `, "record": ""`):                                                                         "record is not base64",
		seed(ok + `, "record": "!"`):                                                                        "record is not base64",
		seed(ok + `, "record": "AR=="`):                                                                     "record is not base64",
		seed(ok + `, "record": "` + base64.StdEncoding.EncodeToString(make([]byte, MaxRecordSize+1)) + `"`): "record is",
		seed(ok + `, "rtt": 5`):                                                                             "instances[0].rtt is not a known key",
		seed(ok + `}, {"peer": "` + peers[0] + `", ` + ok):                                                  "names the peer " + peers[0] + " a second time",
		`{"instances": ` + long("[", 40) + long("]", 40) + `}`:                                              "is nested deeper than 32",
		`{"instances": [` + long("1,", maxNodes) + `1]}`:                                                    "has more than 131072 values",
		long(" ", MaxSeedListSize+1):                                                                        "at most 16777216 are read",
	} {
		l, err := ParseSeedList("instances.json", []byte(text))
		var fe *FileError
		if !errors.As(err, &fe) || l != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s:\n got  %v\n want %s", text, err, want)
		}
	}
}

func TestSeedListHoldsAtMost4096(t *testing.T) {
	for n, ok := range map[int]bool{MaxSeeds: true, MaxSeeds + 1: false} {
		l := SeedList{}
		for i := range n {
			id := peer.ID(fmt.Sprintf("\x00\x24\x08\x01\x12\x20%032d", i))
			l.Instances = append(l.Instances, Seed{Peer: id, Record: make([]byte, MaxRecordSize), Addrs: []ma.Multiaddr{
				ma.StringCast("/ip4/203.0.113.7/udp/40000/quic-v1"), ma.StringCast("/ip4/203.0.113.7/tcp/40000/tls"),
			}})
		}
		if data, err := l.Marshal(); (err == nil) != ok {
			t.Errorf("%d seeds, %d bytes: %v", n, len(data), err)
		}
	}
}

func FuzzParseSeedList(f *testing.F) {
	f.Add([]byte(`{"cell":"` + exchange.ID().String() + `","updated":"2026-11-22T20:00:00Z","instances":[` +
		`{"peer":"` + peers[0] + `","addrs":["/ip4/203.0.113.7/udp/40000/quic-v1"],"record":"AQ=="}]}`))
	f.Add([]byte(`{"instances":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseSeedList("instances.json", data)
		if err != nil {
			return
		}
		out, err := l.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := ParseSeedList("instances.json", out)
		if err != nil || !reflect.DeepEqual(back, l) {
			t.Fatalf("%v\n%+v\n%+v", err, l, back)
		}
	})
}
