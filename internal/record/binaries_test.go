package record

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
)

func testBinaries() Binaries {
	return Binaries{
		Cell: testCell, Commit: strings.Repeat("ab", 20), Issued: testNow.Add(-time.Hour),
		List: []Binary{
			{OS: "linux", Arch: "amd64", Go: "go1.26.8", SHA256: strings.Repeat("01", 32), Size: 9 << 20},
			{OS: "linux", Arch: "arm64", Go: "go1.26.8", SHA256: strings.Repeat("02", 32), Size: 8 << 20},
		},
	}
}

func (c *court) binaries(key crypto.PrivKey, change func(*Binaries)) []byte {
	c.t.Helper()
	b := testBinaries()
	if change != nil {
		change(&b)
	}
	data, err := SealBinaries(key, b)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

func TestBinariesOfAPublisherAreTaken(t *testing.T) {
	c := newCourt(t)
	want := testBinaries()
	got, err := c.authority.Binaries(c.binaries(c.publisher, nil), want.Commit, testNow)
	if err != nil || !reflect.DeepEqual(got.List, want.List) || !got.Issued.Equal(want.Issued) {
		t.Fatalf("%+v, %v", got, err)
	}
	if one, ok := got.For("linux", "arm64"); !ok || one.Size != 8<<20 {
		t.Errorf("for linux/arm64: %+v, %t", one, ok)
	}
	if _, ok := got.For("plan9", "386"); ok {
		t.Error("there is one for plan9")
	}
	builder := newKey(t)
	alone := c.amend(nil, func(n *Trust) {
		n.Publishers = []Publisher{publisherOf(t, c.publisher, SignTrust, SignGrants), publisherOf(t, builder, SignBinaries)}
	}, c.publisher)
	if _, err := c.take(alone); err != nil {
		t.Fatal(err)
	}
	if _, err := c.authority.Binaries(c.binaries(builder, nil), want.Commit, testNow); err != nil {
		t.Errorf("by the key for binaries: %v", err)
	}
	if _, err := c.authority.Binaries(c.binaries(c.publisher, nil), want.Commit, testNow); codeOf(t, err) != CodeIssuer {
		t.Errorf("by a key for other things: %v", err)
	}
}

func TestOtherBinariesAreRefused(t *testing.T) {
	c := newCourt(t)
	good := c.binaries(c.publisher, nil)
	bent := bytes.Clone(good)
	bent[len(bent)-1] ^= 1
	for name, row := range map[string]struct {
		data []byte
		code Code
	}{
		"of a stranger":     {c.binaries(newKey(t), nil), CodeIssuer},
		"of another cell":   {c.binaries(c.publisher, func(b *Binaries) { b.Cell = otherCell }), CodeCell},
		"of another commit": {c.binaries(c.publisher, func(b *Binaries) { b.Commit = strings.Repeat("cd", 20) }), CodeCommit},
		"from the future":   {c.binaries(c.publisher, func(b *Binaries) { b.Issued = testNow.Add(time.Hour) }), CodeFuture},
		"changed":           {bent, CodeSig},
		"a grant":           {c.loose([]crypto.PrivKey{c.publisher}, c.grant(nil)), CodeEnvelope},
		"too large":         {make([]byte, maxBinariesSize+1), CodeSize},
	} {
		if _, err := c.authority.Binaries(row.data, testBinaries().Commit, testNow); codeOf(t, err) != row.code {
			t.Errorf("%s: %v, want %s", name, err, row.code)
		}
	}
	if _, err := (*Authority)(nil).Binaries(good, testBinaries().Commit, testNow); codeOf(t, err) != CodeIssuer {
		t.Errorf("of an open cell: %v", err)
	}
	for name, change := range map[string]func(*Binaries){
		"none":           func(b *Binaries) { b.List = nil },
		"a system twice": func(b *Binaries) { b.List = append(b.List, b.List[0]) },
		"no hash":        func(b *Binaries) { b.List[0].SHA256 = "" },
		"no size":        func(b *Binaries) { b.List[0].Size = 0 },
		"no system":      func(b *Binaries) { b.List[0].OS = "" },
		"no commit":      func(b *Binaries) { b.Commit = "" },
	} {
		b := testBinaries()
		b.List = slices.Clone(b.List)
		change(&b)
		if _, err := SealBinaries(c.publisher, b); codeOf(t, err) != CodePayload {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzBinaries(f *testing.F) {
	c := newCourt(f)
	f.Add(c.binaries(c.publisher, nil), uint(100))
	f.Fuzz(func(t *testing.T, data []byte, bit uint) {
		first, err := c.authority.Binaries(data, testBinaries().Commit, testNow)
		if err != nil {
			return
		}
		again, err := c.authority.Binaries(bytes.Clone(data), testBinaries().Commit, testNow)
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%+v, again %+v, %v", first, again, err)
		}
		bent := bytes.Clone(data)
		bent[bit/8%uint(len(bent))] ^= 1 << (bit % 8)
		if other, err := c.authority.Binaries(bent, testBinaries().Commit, testNow); err == nil && !reflect.DeepEqual(first, other) {
			t.Fatalf("a changed manifest was taken: %+v", other)
		}
	})
}
