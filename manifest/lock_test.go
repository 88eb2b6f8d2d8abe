package manifest

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"pgregory.net/rapid"
)

func sampleLock(t testing.TB) *Lock {
	a, errA := peer.Decode(peers[0])
	b, errB := peer.Decode(peers[1])
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return &Lock{Cells: []LockedCell{{
		Name: "exchange", Cell: exchange, Git: "https://cell-hub.acme.com/acme/exchange.git",
		Commit: long("a1", 20), Manifest: long("b2", 32), Fingerprint: long("c3", 32),
		Trust: &LockedTrust{Keys: []string{zeroKey}, Threshold: 1, Version: 3},
		Seeds: []Seed{
			{Peer: a, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/203.0.113.7/tcp/40000/tls"), ma.StringCast("/ip4/203.0.113.7/udp/40000/quic-v1")}},
			{Peer: b, Addrs: []ma.Multiaddr{ma.StringCast("/ip6/2001:db8::1/udp/40000/quic-v1")}, Record: []byte("record")},
		},
	}, {
		Name: "ledger", Cell: Cell{Repository: "file:/srv/my \"git\"/ledger", Tag: "v2"}, Git: "/srv/my \"git\"/ledger", Commit: long("d", 64),
	}}}
}

// The bytes are a contract: other people's Cell.lock stands in their repositories.
func TestLockBytesAreFrozen(t *testing.T) {
	data, err := sampleLock(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if want := readTestdata(t, "Cell.lock"); !bytes.Equal(data, want) {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	back, err := ParseLock("Cell.lock", data)
	if err != nil || !reflect.DeepEqual(back, sampleLock(t)) {
		t.Errorf("%v\n%+v", err, back)
	}
}

func TestEmptyLock(t *testing.T) {
	data, err := (&Lock{}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseLock("Cell.lock", data)
	if err != nil || len(l.Cells) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestLockFind(t *testing.T) {
	l := sampleLock(t)
	if c, ok := l.Find("ledger"); !ok || c.Name != "ledger" {
		t.Errorf("%+v, %v", c, ok)
	}
	if c, ok := l.Find("exchang"); ok {
		t.Errorf("found %+v", c)
	}
}

func TestLockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Lock{}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,8}`), 0, 4, rapid.ID).Draw(t, "names") {
			c, err := NewCell(genURL().Draw(t, "url"), genTag().Draw(t, "tag"))
			if err != nil {
				t.Skip(err)
			}
			locked := LockedCell{
				Name: name, Cell: c, Git: c.URL(), Commit: rapid.StringMatching(`[0-9a-f]{40}`).Draw(t, "commit"),
				Fingerprint: rapid.StringMatching(`([0-9a-f]{64})?`).Draw(t, "fingerprint"),
			}
			if seeds := genSeeds().Draw(t, "seeds"); len(seeds) > 0 {
				locked.Seeds = seeds
			}
			l.Cells = append(l.Cells, locked)
		}
		data, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseLock("Cell.lock", data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		again, err := back.Marshal()
		if err != nil || !bytes.Equal(again, data) || len(back.Cells) != len(l.Cells) {
			t.Fatalf("%v\n%s\n%s", err, data, again)
		}
		for _, c := range l.Cells {
			if got, ok := back.Find(c.Name); !ok || !reflect.DeepEqual(got, c) {
				t.Fatalf("%+v\n%+v", got, c)
			}
		}
	})
}

func TestLockIsNotWrittenWhenItCouldNotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(*Lock){
		"is locked twice":     func(l *Lock) { l.Cells[1].Name = "exchange" },
		"has characters":      func(l *Lock) { l.Cells[0].Name = "Exchange" },
		"commit is not":       func(l *Lock) { l.Cells[0].Commit = "abc" },
		"has no commit":       func(l *Lock) { l.Cells[0].Commit = "" },
		"is not canonical":    func(l *Lock) { l.Cells[0].Cell.Repository = "https://h.org/a" },
		"tag \"\": is empty":  func(l *Lock) { l.Cells[0].Cell.Tag = "" },
		"git \"\": is empty":  func(l *Lock) { l.Cells[0].Git = "" },
		"git \"ext::id\"":     func(l *Lock) { l.Cells[0].Git = "ext::id" },
		"trust names no keys": func(l *Lock) { l.Cells[0].Trust.Keys = nil },
		"threshold is 2":      func(l *Lock) { l.Cells[0].Trust.Threshold = 2 },
		"a second time":       func(l *Lock) { l.Cells[0].Seeds[1].Peer = l.Cells[0].Seeds[0].Peer },
		"manifest is not 64":  func(l *Lock) { l.Cells[0].Manifest = long("A", 64) },
	} {
		l := sampleLock(t)
		spoil(l)
		if data, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
}

func TestBadLocksAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "has no version; it is not a Cell.lock",
		"version = 2":                   "version is 2; this cellnode reads version 1: update cellnode",
		"version = \"1\"":               "version is a string",
		"version = 1\nx = 1":            "x is not a known key",
		"version = 1\n[cell.a]":         "cell.a",
		"version = 1\ncell = 1":         "cell is an integer; write a table",
		"version = 1\n[cell]\na = 1":    "cell.a is an integer; write a table",
		"version = 1\n[cells.exchange]": "did you mean cell?",
	} {
		l, err := ParseLock("Cell.lock", []byte(text))
		var fe *FileError
		if !errors.As(err, &fe) || l != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(readTestdata(f, "Cell.lock"))
	f.Add([]byte("version = 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLock("Cell.lock", data)
		if err != nil {
			return
		}
		out, err := l.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if back, err := ParseLock("Cell.lock", out); err != nil || len(back.Cells) != len(l.Cells) {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}
