package find

import (
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// publisherKey is a signer's key as Cell.toml has it.
func publisherKey(t *testing.T, s signer) string {
	t.Helper()
	raw, err := s.key.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	return manifest.FormatKey(raw)
}

// A client that was away while the publishers went over to other keys, and whose git host is gone, has nobody but the
// instances to learn it from, and does not take any of them yet.
func TestARefusedInstanceIsAskedForItsTrustDocument(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		old, publisher, a := newSigner(t), newSigner(t), newSigner(t)
		authority, err := record.NewAuthority(testCell, manifest.Trust{Keys: []string{publisherKey(t, old)}})
		if err != nil {
			t.Fatal(err)
		}
		next := record.FirstTrust(testCell.Repository, manifest.Trust{Keys: []string{publisherKey(t, publisher)}})
		next.Version, next.Issued, next.Expires = 1, start, start.Add(30*24*time.Hour)
		chain, err := (*record.TrustChain)(nil).Append(next)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []signer{old, publisher} {
			if err := chain.Sign(s.key); err != nil {
				t.Fatal(err)
			}
		}
		grant, err := record.SignGrant(publisher.key, record.Grant{
			Cell: testCell.ID(), Peer: a.peer, Capabilities: []record.Capability{record.Serve}, Serial: 1,
			NotBefore: start.Truncate(time.Second), NotAfter: start.Add(24 * time.Hour).Truncate(time.Second),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := newFakeNet()
		i := n.start(a, 1)
		i.grant = grant.Bytes
		tr := New(Config{Request: Request{Cell: testCell}, Authority: authority, Ways: []Way{seedWay(a)}, Dialer: n, Follow: 2})
		t.Cleanup(func() { tr.Close() })
		if s, err := tr.Wait(t.Context()); err == nil {
			t.Fatalf("taken by keys that the client does not know: %+v", s.Instances)
		}
		time.Sleep(trustPause / 2)
		n.change(func() {
			if i.trust = chain.Bytes(); i.lists != 1 {
				t.Errorf("asked %d times for a document within half a minute", i.lists)
			}
		})
		awaitList(t, tr, lists(a.peer))
		if authority.Version() != 1 {
			t.Errorf("the document is version %d", authority.Version())
		}
	})
}
