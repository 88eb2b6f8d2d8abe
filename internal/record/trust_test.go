package record

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
	"github.com/cellnode/cellnode/manifest"
)

func keyText(t testing.TB, key crypto.PrivKey) string {
	t.Helper()
	raw, err := key.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	return manifest.FormatKey(raw)
}

func publisherOf(t testing.TB, key crypto.PrivKey, may ...PublisherCapability) Publisher {
	if may == nil {
		may = PublisherCapabilities()
	}
	return Publisher{keyText(t, key), may}
}

// amend adds a version after the newest of a chain, changed and signed by these keys.
func (c *court) amend(before *TrustChain, change func(*Trust), keys ...crypto.PrivKey) *TrustChain {
	c.t.Helper()
	next := before.Newest(c.authority.First())
	next.Version++
	next.Publishers = slices.Clone(next.Publishers)
	next.Issued, next.Expires = testNow.Add(-time.Hour), testNow.Add(DefaultTrust-time.Hour)
	if change != nil {
		change(&next)
	}
	chain, err := before.Append(next)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, key := range keys {
		if err := chain.Sign(key); err != nil {
			c.t.Fatal(err)
		}
	}
	return chain
}

func (c *court) take(chain *TrustChain) (bool, error) {
	return c.authority.Take(chain.Bytes(), testNow)
}

// admits is the code with which an instance with this grant is refused; empty: it is not.
func (c *court) admits(grant []byte) Code {
	return codeOf(c.t, c.authority.Admit(c.record(c.instance, grant), testNow))
}

func codeOf(t testing.TB, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	refusal, ok := err.(*Refusal)
	if !ok {
		t.Fatalf("%v is no Refusal", err)
	}
	return refusal.Code
}

func TestRevokedGrantsDoNotCount(t *testing.T) {
	c := newCourt(t)
	grant := c.sign(c.publisher, nil, nil)
	issued := c.sign(c.issuer, func(g *Grant) { g.NotAfter, g.Serial = testNow.Add(48*time.Hour), 8 }, c.mandate(func(g *Grant) { g.Serial = 9 }))
	if code := c.admits(grant); code != "" {
		t.Fatalf("before: %s", code)
	}
	told := 0
	stop := c.authority.OnChange(func() { told++ })
	var chain *TrustChain
	for _, step := range []struct {
		name                  string
		change                func(*Trust)
		granted, issuedByHand Code
	}{
		{"another serial", func(t *Trust) { t.RevokedSerials = []uint64{1} }, "", ""},
		{"its serial", func(t *Trust) { t.RevokedSerials = []uint64{7} }, CodeRevoked, ""},
		{"the mandate's serial", func(t *Trust) { t.RevokedSerials = []uint64{9} }, "", CodeRevoked},
		{"the issuer", func(t *Trust) { t.RevokedSerials, t.RevokedPeers = nil, []peer.ID{idOf(c.t, c.issuer)} }, "", CodeRevoked},
		{"the peer", func(t *Trust) { t.RevokedPeers = []peer.ID{idOf(c.t, c.instance)} }, CodeRevoked, CodeRevoked},
		{"nobody any more", func(t *Trust) { t.RevokedPeers = nil }, "", ""},
	} {
		chain = c.amend(chain, step.change, c.publisher)
		if newer, err := c.take(chain); !newer || err != nil {
			t.Fatalf("%s: %t, %v", step.name, newer, err)
		}
		if one, two := c.admits(grant), c.admits(issued); one != step.granted || two != step.issuedByHand {
			t.Errorf("revoked %s: %q and %q, want %q and %q", step.name, one, two, step.granted, step.issuedByHand)
		}
	}
	if told != 6 {
		t.Errorf("told of %d documents, want 6", told)
	}
	stop()
	if newer, err := c.take(c.amend(chain, nil, c.publisher)); !newer || err != nil || told != 6 {
		t.Errorf("after stop: %t, %v, told %d", newer, err, told)
	}
}

func TestKeysRotate(t *testing.T) {
	c := newCourt(t)
	second := newKey(t)
	old, fresh := c.sign(c.publisher, nil, nil), c.sign(second, nil, nil)
	if code := c.admits(fresh); code != CodeIssuer {
		t.Errorf("a key that nobody knows: %q", code)
	}
	both := c.amend(nil, func(n *Trust) { n.Publishers = append(n.Publishers, publisherOf(t, second)) }, c.publisher)
	if newer, err := c.take(both); !newer || err != nil || c.admits(old) != "" || c.admits(fresh) != "" {
		t.Errorf("with both keys: %t, %v, %q, %q", newer, err, c.admits(old), c.admits(fresh))
	}
	alone := c.amend(both, func(n *Trust) { n.Publishers = n.Publishers[1:] }, c.publisher, second)
	if newer, err := c.take(alone); !newer || err != nil || c.admits(old) != CodeIssuer || c.admits(fresh) != "" {
		t.Errorf("with the new key alone: %t, %v, %q, %q", newer, err, c.admits(old), c.admits(fresh))
	}
	// Whoever comes later needs no more than the way from Cell.toml to here.
	if short := alone.Compact(c.authority.First()); len(short.versions) != 1 || short.Verify(c.authority.First()) != nil {
		t.Errorf("the chain was shortened to %d versions", len(short.versions))
	}
	// The first key has no say any more, also not with a document that goes on from the beginning.
	for name, chain := range map[string]*TrustChain{
		"by the old key behind it":          c.amend(alone, nil, c.publisher),
		"by the old key from the beginning": c.amend(nil, func(n *Trust) { n.Version = 9 }, c.publisher),
	} {
		if newer, err := c.take(chain); newer || codeOf(t, err) != CodeThreshold {
			t.Errorf("%s: %t, %v", name, newer, err)
		}
	}
	grants := func(n *Trust) { n.Publishers = append(n.Publishers, publisherOf(t, c.issuer, SignTrust)) }
	chain := c.amend(alone, grants, second)
	if newer, err := c.take(chain); !newer || err != nil || c.admits(c.sign(c.issuer, nil, nil)) != CodeIssuer {
		t.Errorf("a key for documents alone: %t, %v, and its grant %q", newer, err, c.admits(c.sign(c.issuer, nil, nil)))
	}
}

func TestThresholdOfPublishers(t *testing.T) {
	c := newCourt(t)
	second, third := newKey(t), newKey(t)
	two := c.amend(nil, func(n *Trust) {
		n.Publishers, n.Threshold = append(n.Publishers, publisherOf(t, second), publisherOf(t, third)), 2
	}, c.publisher)
	if _, err := c.take(two); codeOf(t, err) != CodeThreshold {
		t.Errorf("a document that asks for two is signed by one: %v", err)
	}
	if err := two.Sign(third); err != nil {
		t.Fatal(err)
	}
	if newer, err := c.take(two); !newer || err != nil {
		t.Fatalf("signed by two: %t, %v", newer, err)
	}
	if _, err := c.take(c.amend(two, nil, second)); codeOf(t, err) != CodeThreshold {
		t.Errorf("the next one by one: %v", err)
	}
	if newer, err := c.take(c.amend(two, nil, second, c.publisher)); !newer || err != nil {
		t.Errorf("the next one by two: %t, %v", newer, err)
	}
}

func TestOlderTrustIsNeverTaken(t *testing.T) {
	c := newCourt(t)
	one := c.amend(nil, nil, c.publisher)
	two := c.amend(one, func(n *Trust) { n.RevokedSerials = []uint64{7} }, c.publisher)
	other := c.amend(one, nil, c.publisher)
	if newer, err := c.take(two); !newer || err != nil {
		t.Fatal(newer, err)
	}
	if newer, err := c.take(two); newer || err != nil {
		t.Errorf("the same again: %t, %v", newer, err)
	}
	for name, chain := range map[string]*TrustChain{"older": one, "another of the same version": other} {
		if newer, err := c.take(chain); newer || codeOf(t, err) != CodeReplay {
			t.Errorf("%s: %t, %v", name, newer, err)
		}
	}
	again, err := NewAuthority(namedCell, manifest.Trust{Keys: []string{keyText(t, c.publisher)}})
	if err != nil {
		t.Fatal(err)
	}
	if newer, err := again.Take(c.authority.Chain(), testNow); !newer || err != nil || again.Version() != 2 || again.ID() != c.authority.ID() {
		t.Errorf("in another process: %t, %v, version %d", newer, err, again.Version())
	}
}

func TestTrustEnds(t *testing.T) {
	c := newCourt(t)
	if newer, err := c.take(c.amend(nil, func(n *Trust) { n.Expires = testNow.Add(-time.Minute) }, c.publisher)); !newer || err != nil {
		t.Fatal(newer, err)
	}
	if code := c.admits(c.sign(c.publisher, nil, nil)); code != CodeTrust {
		t.Errorf("under a document that has ended: %q", code)
	}
}

func TestWorthlessTrustIsRefused(t *testing.T) {
	c := newCourt(t)
	stranger := newKey(t)
	good := c.amend(nil, nil, c.publisher)
	bent := func(change func(*recordpb.TrustChain)) []byte {
		var msg recordpb.TrustChain
		if err := proto.Unmarshal(good.Bytes(), &msg); err != nil {
			t.Fatal(err)
		}
		change(&msg)
		data, err := proto.Marshal(&msg)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, row := range map[string]struct {
		data []byte
		code Code
	}{
		"empty":                    {nil, CodeTrust},
		"not protobuf":             {[]byte{0xff, 0xff}, CodeTrust},
		"too large":                {make([]byte, MaxTrustSize+1), CodeSize},
		"signed by a stranger":     {c.amend(nil, nil, stranger).Bytes(), CodeThreshold},
		"of another repository":    {c.amend(nil, func(n *Trust) { n.Repository = "example.org/other" }, c.publisher).Bytes(), CodeCell},
		"from the future":          {c.amend(nil, func(n *Trust) { n.Issued = testNow.Add(time.Hour) }, c.publisher).Bytes(), CodeFuture},
		"with another signature":   {bent(func(m *recordpb.TrustChain) { m.Versions[0].Signatures[0].Signature[3] ^= 1 }), CodeSig},
		"with a shorter signature": {bent(func(m *recordpb.TrustChain) { m.Versions[0].Signatures[0].Signature = []byte{1} }), CodeTrust},
		"thirty-three versions": {bent(func(m *recordpb.TrustChain) {
			for len(m.Versions) <= MaxTrustVersions {
				m.Versions = append(m.Versions, m.Versions[0])
			}
		}), CodeTrust},
		"one version twice": {bent(func(m *recordpb.TrustChain) { m.Versions = append(m.Versions, m.Versions[0]) }), CodeReplay},
	} {
		if newer, err := c.authority.Take(row.data, testNow); newer || codeOf(t, err) != row.code {
			t.Errorf("%s: %t, %v, want %s", name, newer, err, row.code)
		}
	}
	for name, change := range map[string]func(*Trust){
		"nobody who may change it":  func(n *Trust) { n.Publishers = []Publisher{publisherOf(t, c.publisher, SignGrants)} },
		"nobody who may grant":      func(n *Trust) { n.Publishers = []Publisher{publisherOf(t, c.publisher, SignTrust)} },
		"a threshold of two of one": func(n *Trust) { n.Threshold = 2 },
		"valid for two years":       func(n *Trust) { n.Expires = n.Issued.Add(2 * MaxTrust) },
		"one key twice":             func(n *Trust) { n.Publishers = append(n.Publishers, n.Publishers[0]) },
	} {
		next := c.authority.First()
		next.Version, next.Issued, next.Expires = 1, testNow, testNow.Add(time.Hour)
		next.Publishers = slices.Clone(next.Publishers)
		change(&next)
		if _, err := (*TrustChain)(nil).Append(next); codeOf(t, err) != CodeTrust {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (*Authority)(nil).Take(good.Bytes(), testNow); codeOf(t, err) != CodeTrust {
		t.Errorf("an open cell: %v", err)
	}
	if c.authority.Version() != 0 {
		t.Errorf("version %d was taken", c.authority.Version())
	}
	if again, err := ParseTrust(good.Text() + "\n"); err != nil || !bytes.Equal(again.Bytes(), good.Bytes()) {
		t.Errorf("as text: %v", err)
	}
}

// Whatever is taken is taken again after a way through its own form, and with any bit of it changed it is refused or the
// same.
func FuzzTrust(f *testing.F) {
	c := newCourt(f)
	one := c.amend(nil, func(n *Trust) { n.RevokedSerials, n.RevokedPeers = []uint64{7}, []peer.ID{idOf(f, c.issuer)} }, c.publisher)
	f.Add(one.Bytes(), uint(100))
	f.Add(c.amend(one, nil, c.publisher).Bytes(), uint(7))
	f.Fuzz(func(t *testing.T, data []byte, bit uint) {
		chain, err := OpenTrust(data)
		if err != nil {
			return
		}
		again, err := OpenTrust(chain.Bytes())
		if err != nil {
			t.Fatalf("written and read again: %v", err)
		}
		first := c.authority.First()
		if (chain.Verify(first) == nil) != (again.Verify(first) == nil) {
			t.Fatalf("%v, again %v", chain.Verify(first), again.Verify(first))
		}
		if chain.Verify(first) != nil || len(data) == 0 {
			return
		}
		bent := bytes.Clone(data)
		bent[bit/8%uint(len(bent))] ^= 1 << (bit % 8)
		other, err := OpenTrust(bent)
		if err == nil && other.Verify(first) == nil && !bytes.Equal(other.versions[len(other.versions)-1].payload, chain.versions[len(chain.versions)-1].payload) {
			t.Fatalf("a changed document was taken: %+v", other.Newest(first))
		}
	})
}
