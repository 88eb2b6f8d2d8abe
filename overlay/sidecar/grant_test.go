package sidecar

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// granted is an instance of a cell with a publisher, on a machine with an issuer.
type granted struct {
	*Sidecar
	t         *testing.T
	publisher crypto.PrivKey
	issuer    crypto.PrivKey
}

func newGranted(t *testing.T) *granted {
	t.Helper()
	publisher, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := publisher.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	dir, in := newHome(t), newInstance(t)
	in.Trust = &manifest.Trust{Keys: []string{manifest.FormatKey(raw)}}
	s := &Sidecar{cfg: Config{Instance: in, Home: dir}, log: slog.New(slog.DiscardHandler)}
	if s.authority, err = record.NewAuthority(in.Cell, *in.Trust); err != nil {
		t.Fatal(err)
	}
	if s.key, err = dir.Key(in.Name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.key.Close() })
	issuer, err := dir.StoredKey("issuer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { issuer.Close() })
	return &granted{s, t, publisher, issuer.Priv}
}

// grant signs one that began and ends so long from now.
func (g *granted) grant(key crypto.PrivKey, above *record.Grants, to peer.ID, may record.Capability, began, ends time.Duration) *record.Grants {
	g.t.Helper()
	now := time.Now()
	grants, err := record.SignGrant(key, record.Grant{
		Cell: g.cfg.Instance.Cell.ID(), Peer: to, Capabilities: []record.Capability{may}, Serial: 7,
		NotBefore: now.Add(began).Truncate(time.Second), NotAfter: now.Add(ends).Truncate(time.Second),
	}, above)
	if err != nil {
		g.t.Fatal(err)
	}
	return grants
}

// mandate lets the issuer issue.
func (g *granted) mandate(began, ends time.Duration) *record.Grants {
	g.t.Helper()
	id, err := peer.IDFromPrivateKey(g.issuer)
	if err != nil {
		g.t.Fatal(err)
	}
	m := g.grant(g.publisher, nil, id, record.Issue, began, ends)
	if err := os.WriteFile(g.cfg.Home.IssuePath(g.cfg.Instance.Name), []byte(m.Text()), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return m
}

// reads returns the grant that the instance has then.
func (g *granted) reads() *record.Grants {
	g.t.Helper()
	grants, err := g.readGrant()
	if err != nil {
		g.t.Fatal(err)
	}
	return grants
}

func (g *granted) stores(grants *record.Grants) {
	g.t.Helper()
	if err := g.cfg.Home.SaveGrant(g.key.Name, grants.Text()); err != nil {
		g.t.Fatal(err)
	}
}

func TestAnIssuerGrantsToItsOwnInstanceAndRenews(t *testing.T) {
	g := newGranted(t)
	var none *GrantError
	if _, err := g.readGrant(); !errors.As(err, &none) || none.Err != nil {
		t.Fatalf("without a mandate: %v", err)
	}
	mandate := g.mandate(-24*time.Hour, 6*24*time.Hour)
	first := g.reads()
	if own := first.Chain[0]; len(first.Chain) != 2 || own.Peer != g.key.Peer || own.Valid() != issuedFor {
		t.Errorf("it made %+v", first.Chain)
	}
	if again := g.reads(); again.Text() != first.Text() {
		t.Error("a grant that is fresh was made anew")
	}
	g.stores(g.grant(g.issuer, mandate, g.key.Peer, record.Serve, -13*time.Hour, 11*time.Hour))
	if renewed := g.reads(); time.Until(renewed.Chain[0].NotAfter) < 23*time.Hour {
		t.Errorf("past its half it was not renewed: it ends at %s", renewed.Chain[0].NotAfter)
	}
	byPublisher := g.grant(g.publisher, nil, g.key.Peer, record.Serve, -time.Hour, 24*time.Hour)
	g.stores(byPublisher)
	if kept := g.reads(); kept.Text() != byPublisher.Text() {
		t.Error("it took the place of a publisher's own")
	}
}

func TestAnIssuerGrantsNoLongerThanItMay(t *testing.T) {
	g := newGranted(t)
	mandate := g.mandate(-6*24*time.Hour, time.Hour)
	first := g.reads()
	if !first.Chain[0].NotAfter.Equal(mandate.Chain[0].NotAfter) {
		t.Errorf("it ends at %s, the mandate at %s", first.Chain[0].NotAfter, mandate.Chain[0].NotAfter)
	}
	old := g.grant(g.issuer, mandate, g.key.Peer, record.Serve, -20*time.Hour, time.Hour)
	g.stores(old)
	if kept := g.reads(); kept.Text() != old.Text() {
		t.Error("another one that ends no later was made")
	}
	g.mandate(-6*24*time.Hour, -time.Hour)
	g.stores(first)
	if kept := g.reads(); kept.Text() != first.Text() {
		t.Error("a grant that still holds went with the mandate")
	}
	if err := os.Remove(g.cfg.Home.GrantPath(g.key.Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.readGrant(); err == nil || !strings.Contains(err.Error(), ".issue: it ended at") {
		t.Errorf("with a mandate that has ended: %v", err)
	}
}

func TestAnIssuerDoesNotGrantAnewWhatWasRevoked(t *testing.T) {
	g := newGranted(t)
	mandate := g.mandate(-time.Hour, 24*time.Hour)
	g.stores(g.grant(g.issuer, mandate, g.key.Peer, record.Serve, -time.Minute, time.Hour))
	g.reads()
	next := record.FirstTrust(g.cfg.Instance.Cell.Repository, *g.cfg.Instance.Trust)
	next.Version, next.Issued, next.Expires, next.RevokedSerials = 1, time.Now(), time.Now().Add(time.Hour), []uint64{7}
	var chain *record.TrustChain
	chain, err := chain.Append(next)
	if err != nil {
		t.Fatal(err)
	}
	if err := chain.Sign(g.publisher); err != nil {
		t.Fatal(err)
	}
	if _, err := g.authority.Take(chain.Bytes(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var refusal *record.Refusal
	if _, err := g.readGrant(); !errors.As(err, &refusal) || refusal.Code != record.CodeRevoked {
		t.Errorf("got %v, want E_REVOKED", err)
	}
}

func TestAGrantThatCannotBeSavedIsUsed(t *testing.T) {
	g := newGranted(t)
	var said bytes.Buffer
	g.log = slog.New(slog.NewTextHandler(&said, nil))
	g.mandate(-time.Hour, 6*24*time.Hour)
	path := g.cfg.Home.GrantPath(g.key.Name)
	if err := os.MkdirAll(path+"/in the way", 0o700); err != nil { // nobody can write there, not even root
		t.Fatal(err)
	}
	issued, err := g.issueGrant()
	if err != nil {
		t.Fatal(err)
	}
	g.save(issued)
	g.save(issued)
	if n := strings.Count(said.String(), "not saved"); n != 1 || g.unsaved == nil {
		t.Errorf("said %d times: %s", n, said.String())
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if used := g.reads(); used.Text() != issued.Text() {
		t.Error("another one is made in its place")
	}
	if stored, err := g.storedGrant(); err != nil || stored.Text() != issued.Text() || g.unsaved != nil {
		t.Errorf("it is not written when that is possible again: %v", err)
	}
}

func TestTheEndOfAGrantIsSaidAgainAndAgain(t *testing.T) {
	g := newGranted(t)
	var said bytes.Buffer
	g.log = slog.New(slog.NewTextHandler(&said, nil))
	warned := 0
	for _, left := range []time.Duration{25 * 24 * time.Hour, 50 * time.Hour, 49 * time.Hour, 20 * time.Hour, time.Minute, -time.Second, -time.Minute} {
		own := g.grant(g.publisher, nil, g.key.Peer, record.Serve, left-30*24*time.Hour, left).Chain[0]
		warned = g.warn(&own, warned)
	}
	if soon, over := strings.Count(said.String(), "ends soon"), strings.Count(said.String(), "level=ERROR"); soon != 3 || over != 1 {
		t.Errorf("warned %d times, and of the end %d times:\n%s", soon, over, said.String())
	}
}
