package gossip

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// house is a signed cell: its publisher, and an Authority for each node as each process has its own.
type house struct {
	l           *lab
	publisher   crypto.PrivKey
	authorities map[*node]*record.Authority
}

func (l *lab) house() *house {
	return &house{l: l, publisher: newKey(l.t), authorities: map[*node]*record.Authority{}}
}

func (h *house) authority() *record.Authority {
	h.l.t.Helper()
	raw, err := h.publisher.GetPublic().Raw()
	if err != nil {
		h.l.t.Fatal(err)
	}
	cell := manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"} // its CID is testCell
	a, err := record.NewAuthority(cell, manifest.Trust{Keys: []string{manifest.FormatKey(raw)}, Threshold: 1})
	if err != nil {
		h.l.t.Fatal(err)
	}
	return a
}

// member starts a node with a grant signed by a key, and joins others.
func (h *house) member(key crypto.PrivKey, others ...*node) *node {
	h.l.t.Helper()
	n := h.l.node()
	grant, err := record.SignGrant(key, record.Grant{
		Cell: testCell, Peer: n.host.ID(), Capabilities: []record.Capability{record.Serve}, Serial: 7,
		NotBefore: time.Now().Truncate(time.Second), NotAfter: time.Now().Add(record.DefaultGrant).Truncate(time.Second),
	}, nil)
	if err != nil {
		h.l.t.Fatal(err)
	}
	in := n.record(testCell).Instance
	in.Grant = grant.Bytes
	cfg := n.config()
	if cfg.Record, err = record.Sign(n.key, in); err != nil {
		h.l.t.Fatal(err)
	}
	cfg.Authority = h.authority()
	h.authorities[n] = cfg.Authority
	if n.Gossip, err = New(context.Background(), cfg); err != nil {
		h.l.t.Fatal(err)
	}
	n.join(others...)
	return n
}

func (h *house) members(size int) []*node {
	h.l.t.Helper()
	var nodes []*node
	for i := range size {
		nodes = append(nodes, h.member(h.publisher, nodes[:min(i, 1)]...))
	}
	await(h.l.t, 5*time.Second, "all know all", func() bool { return agree(nodes) })
	return nodes
}

// revoke has one node take a document of this version that revokes peers.
func (h *house) revoke(at *node, version uint64, peers ...peer.ID) {
	h.l.t.Helper()
	a := h.authorities[at]
	next := a.First()
	next.Version, next.RevokedPeers, next.Issued, next.Expires = version, peers, time.Now(), time.Now().Add(record.DefaultTrust)
	chain, err := (*record.TrustChain)(nil).Append(next)
	if err == nil {
		err = chain.Sign(h.publisher)
	}
	if err == nil {
		_, err = a.Take(chain.Bytes(), time.Now())
	}
	if err != nil {
		h.l.t.Fatal(err)
	}
}

func TestWithoutAGrantNobodyIsAMember(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		h := l.house()
		n := h.member(h.publisher)
		granted, forged := h.member(newKey(t), n), l.node()
		forged.gossip(n)
		defer stopAll([]*node{n, granted, forged})
		time.Sleep(10 * time.Second)
		if len(n.Members()) != 1 {
			t.Error("a member without a grant, or with one of a stranger, is listed")
		}
	})
}

func TestARevokedMemberIsOffEveryListWithinASecond(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		h := l.house()
		nodes := h.members(8)
		defer func() { stopAll(nodes) }()
		time.Sleep(5 * time.Second)
		revoked := nodes[5]
		others := slices.Delete(slices.Clone(nodes), 5, 6)
		h.revoke(nodes[3], 1, revoked.host.ID())
		await(t, time.Second, "the revoked one is off every list", func() bool { return agree(others) })
		for i, n := range others {
			if v := h.authorities[n].Version(); v != 1 {
				t.Errorf("node %d knows version %d", i, v)
			}
		}
		time.Sleep(time.Minute) // it goes on talking to whoever listens
		if !agree(others) {
			t.Error("the revoked one is back")
		}
		// Whoever comes later, with what Cell.toml says alone, learns of it from any other.
		late := h.member(h.publisher, revoked, others[0])
		nodes, others = append(nodes, late), append(others, late)
		await(t, 2*time.Second, "a newcomer does not list the revoked one", func() bool { return agree(others) })
		time.Sleep(20 * time.Second)
		if !agree(others) {
			t.Error("the newcomer lists the revoked one")
		}
		h.revoke(others[2], 2)
		await(t, 40*time.Second, "pardoned, it is back", func() bool { return agree(nodes) })
	})
}

func TestTrustReachesWhoeverWasCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		h := l.house()
		nodes := h.members(5)
		defer func() { stopAll(nodes) }()
		time.Sleep(5 * time.Second)
		away := nodes[4]
		away.dark.Store(true)
		await(t, 20*time.Second, "it counts as dead", func() bool { return agree(nodes[:4]) })
		revoked := nodes[3]
		h.revoke(nodes[0], 1, revoked.host.ID())
		rest := append(slices.Clone(nodes[:3]), away)
		await(t, time.Second, "the revoked one is off the lists", func() bool { return agree(nodes[:3]) })
		away.dark.Store(false)
		await(t, 30*time.Second, "the one that was away is back and knows", func() bool { return agree(rest) && h.authorities[away].Version() == 1 })
	})
}
