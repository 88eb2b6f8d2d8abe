package record

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
	"github.com/cellnode/cellnode/manifest"
)

// namedCell is the one whose CID is testCell.
var namedCell = manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}

// court is a cell with one publisher, an issuer whom it trusts for a day, and an instance.
type court struct {
	t                           testing.TB
	publisher, issuer, instance crypto.PrivKey
	authority                   *Authority
}

func newCourt(t testing.TB) *court {
	t.Helper()
	c := &court{t: t, publisher: newKey(t), issuer: newKey(t), instance: newKey(t)}
	raw, err := c.publisher.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	if c.authority, err = NewAuthority(namedCell, manifest.Trust{Keys: []string{manifest.FormatKey(raw)}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func idOf(t testing.TB, key crypto.PrivKey) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// grant is one for the instance, for thirty days from yesterday, as changed.
func (c *court) grant(change func(*Grant)) Grant {
	g := Grant{
		Cell: testCell, Peer: idOf(c.t, c.instance), Capabilities: []Capability{Serve}, Serial: 7,
		NotBefore: testNow.Add(-24 * time.Hour), NotAfter: testNow.Add(-24 * time.Hour).Add(DefaultGrant),
	}
	if change != nil {
		change(&g)
	}
	return g
}

func (c *court) sign(key crypto.PrivKey, change func(*Grant), above *Grants) []byte {
	c.t.Helper()
	g, err := SignGrant(key, c.grant(change), above)
	if err != nil {
		c.t.Fatal(err)
	}
	return g.Bytes
}

// mandate lets the issuer issue for five days.
func (c *court) mandate(change func(*Grant)) *Grants {
	c.t.Helper()
	g, err := SignGrant(c.publisher, c.grant(func(g *Grant) {
		g.Peer, g.Capabilities, g.NotAfter = idOf(c.t, c.issuer), []Capability{Issue}, testNow.Add(5*24*time.Hour)
		if change != nil {
			change(g)
		}
	}), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

// loose is a chain as anybody can make it: SignGrant would refuse some.
func (c *court) loose(keys []crypto.PrivKey, grants ...Grant) []byte {
	c.t.Helper()
	chain := &recordpb.GrantChain{}
	for i, g := range grants {
		payload, err := g.marshal()
		if err != nil {
			c.t.Fatal(err)
		}
		envelope, err := seal(grantKind, payload, keys[i])
		if err != nil {
			c.t.Fatal(err)
		}
		chain.Envelopes = append(chain.Envelopes, envelope)
	}
	data, err := proto.Marshal(chain)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

func (c *court) record(key crypto.PrivKey, grant []byte) *Signed {
	c.t.Helper()
	in := testInstance()
	in.Grant = grant
	s, err := Sign(key, in)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func TestWhoHoldsAGrantMayServe(t *testing.T) {
	c := newCourt(t)
	for name, grant := range map[string][]byte{
		"of the publisher": c.sign(c.publisher, nil, nil),
		"for its commit":   c.sign(c.publisher, func(g *Grant) { g.Commit = strings.Repeat("ab", 20) }, nil),
		"of an issuer":     c.sign(c.issuer, func(g *Grant) { g.NotAfter = testNow.Add(48 * time.Hour) }, c.mandate(nil)),
	} {
		s := c.record(c.instance, grant)
		verified, err := Verify(s.Envelope, testCell, testNow)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from memory
			if err := c.authority.Admit(verified, testNow); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		text, err := OpenGrants(grant)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseGrants(text.Text() + "\n"); err != nil || again.Chain[0].Serial != 7 {
			t.Errorf("%s: as text %+v, %v", name, again, err)
		}
	}
	if err := (*Authority)(nil).Admit(c.record(c.instance, nil), testNow); err != nil {
		t.Errorf("an open cell: %v", err)
	}
}

func TestEachImpostorHasItsCode(t *testing.T) {
	c := newCourt(t)
	stranger := newKey(t)
	day := func(n int) func(*Grant) {
		return func(g *Grant) { g.NotBefore, g.NotAfter = testNow.AddDate(0, 0, n), testNow.AddDate(0, 0, n+1) }
	}
	mandate := c.grant(func(g *Grant) {
		g.Peer, g.Capabilities, g.NotAfter = idOf(t, c.issuer), []Capability{Issue}, testNow.Add(5*24*time.Hour)
	})
	short := c.grant(func(g *Grant) { g.NotAfter = testNow.Add(48 * time.Hour) })
	for _, tt := range []struct {
		name  string
		grant []byte
		want  Code
	}{
		{"no grant", nil, CodeGrant},
		{"garbage", []byte{0xff}, CodeGrant},
		{"an empty chain", []byte{}, CodeGrant},
		{"another cell's", c.sign(c.publisher, func(g *Grant) { g.Cell = otherCell }, nil), CodeCell},
		{"another peer's", c.sign(c.publisher, func(g *Grant) { g.Peer = idOf(t, stranger) }, nil), CodePeer},
		{"another commit's", c.sign(c.publisher, func(g *Grant) { g.Commit = strings.Repeat("ef", 20) }, nil), CodeCommit},
		{"expired", c.sign(c.publisher, day(-3), nil), CodeExpired},
		{"ends before its record", c.sign(c.publisher, func(g *Grant) { g.NotAfter = testNow.Add(time.Hour) }, nil), CodeExpired},
		{"not yet valid", c.sign(c.publisher, day(3), nil), CodeNotYet},
		{"not for serving", c.mandateFor(c.instance), CodeCaps},
		{"signed by a stranger", c.sign(stranger, nil, nil), CodeIssuer},
		{"signed by itself", c.sign(c.instance, nil, nil), CodeIssuer},
		{"a chain of three", c.loose([]crypto.PrivKey{c.issuer, c.issuer, c.publisher}, short, mandate, mandate), CodeChain},
		{"wider in time", c.loose([]crypto.PrivKey{c.issuer, c.publisher}, c.grant(nil), mandate), CodeChain},
		{"wider in commits", c.loose([]crypto.PrivKey{c.issuer, c.publisher}, short, with(mandate, func(g *Grant) { g.Commit = strings.Repeat("ef", 20) })), CodeChain},
		{"for another cell than its issuer's", c.loose([]crypto.PrivKey{c.issuer, c.publisher}, short, with(mandate, func(g *Grant) { g.Cell = otherCell })), CodeChain},
		{"signed by another than its issuer", c.loose([]crypto.PrivKey{stranger, c.publisher}, short, mandate), CodeChain},
		{"by one who may only serve", c.loose([]crypto.PrivKey{c.issuer, c.publisher}, short, with(mandate, func(g *Grant) { g.Capabilities = []Capability{Serve} })), CodeChain},
		{"an issuer made by an issuer", c.loose([]crypto.PrivKey{c.issuer, c.publisher}, with(short, func(g *Grant) { g.Capabilities = []Capability{Serve, Issue} }), mandate), CodeChain},
		{"a mandate by a stranger", c.loose([]crypto.PrivKey{c.issuer, stranger}, short, mandate), CodeIssuer},
	} {
		err := c.authority.Admit(c.record(c.instance, tt.grant), testNow)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	// A record is no grant, whoever has signed it.
	data, err := proto.Marshal(&recordpb.GrantChain{Envelopes: [][]byte{c.record(c.publisher, nil).Envelope}})
	if err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	if _, err := OpenGrants(data); !errors.As(err, &refusal) || refusal.Code != CodeType {
		t.Errorf("a record for a grant: %v", err)
	}
}

func with(g Grant, change func(*Grant)) Grant {
	change(&g)
	return g
}

// mandateFor lets the holder of a key issue, and no more.
func (c *court) mandateFor(key crypto.PrivKey) []byte {
	return c.mandate(func(g *Grant) { g.Peer = idOf(c.t, key) }).Bytes
}

// Whatever is taken is the same when it is read again, and a flipped bit makes no grant that nobody has signed.
func FuzzOpenGrants(f *testing.F) {
	c := newCourt(f)
	f.Add(c.sign(c.publisher, nil, nil), uint16(40))
	f.Add(c.sign(c.issuer, func(g *Grant) { g.NotAfter = testNow.Add(48 * time.Hour) }, c.mandate(nil)), uint16(900))
	f.Fuzz(func(t *testing.T, data []byte, bit uint16) {
		g, err := OpenGrants(data)
		if err != nil {
			return
		}
		again, err := OpenGrants(g.Bytes)
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("read again: %+v, %v", again, err)
		}
		flipped := bytes.Clone(data)
		flipped[int(bit/8)%len(data)] ^= 1 << (bit % 8)
		other, err := OpenGrants(flipped)
		if err != nil {
			return
		}
		for _, o := range other.Chain {
			if !slices.ContainsFunc(g.Chain, func(of Grant) bool { return reflect.DeepEqual(of, o) }) {
				t.Fatalf("with bit %d flipped it says %+v", bit, o)
			}
		}
	})
}

func TestAFlippedBitMakesNoGrant(t *testing.T) {
	c := newCourt(t)
	data := c.sign(c.publisher, nil, nil)
	for bit := range 8 * len(data) {
		flipped := bytes.Clone(data)
		flipped[bit/8] ^= 1 << (bit % 8)
		if g, err := OpenGrants(flipped); err == nil {
			t.Errorf("with bit %d flipped: %+v", bit, g.Chain)
		}
	}
}
