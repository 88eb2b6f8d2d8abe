package record

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
)

// Limits of grants.
const (
	// DefaultGrant is how long a grant is valid that says nothing else, and MaxGrant how long it may be.
	DefaultGrant, MaxGrant = 30 * 24 * time.Hour, 90 * 24 * time.Hour
	// MaxIssue is how long a grant may be valid that lets its holder issue others: its key lies on a machine that starts
	// instances, not with the publisher.
	MaxIssue = 7 * 24 * time.Hour
	// MaxChain is the length of the longest chain: the instance's grant, and the one by which its signer may issue.
	MaxChain = 2

	maxGrantSize = 512
)

// Capability is something that a grant allows.
type Capability uint8

// The capabilities.
const (
	Serve = Capability(recordpb.Capability_CAPABILITY_SERVE)
	Issue = Capability(recordpb.Capability_CAPABILITY_ISSUE)
)

// String returns serve or issue.
func (c Capability) String() string {
	switch c {
	case Serve:
		return "serve"
	case Issue:
		return "issue"
	}
	return "unknown"
}

// Grant says that a peer may serve a cell, or let others do so, for a time.
type Grant struct {
	Cell                cid.Cid
	Commit              string // hex; empty: any at the cell's tag
	Peer                peer.ID
	NotBefore, NotAfter time.Time // whole seconds
	Capabilities        []Capability
	Serial              uint64  // tells it from others for the same peer; not 0
	Issuer              peer.ID // who signed it; SignGrant and OpenGrants fill it
}

// Valid is for how long it was made.
func (g *Grant) Valid() time.Duration { return g.NotAfter.Sub(g.NotBefore) }

// Grants is a chain: the holder's own grant first, then the one by which its signer may issue, if that is no publisher.
// Its bytes travel in Instance.Grant.
type Grants struct {
	Chain []Grant
	Bytes []byte
}

// Text is the chain on one line, as a grant file and CELL_GRANT hold it: standard base64.
func (g *Grants) Text() string { return base64.StdEncoding.EncodeToString(g.Bytes) }

// SignGrant signs a grant with a publisher's key or, with above, with the key of the peer that above lets issue. What it
// returns has been verified as far as no trust is needed for that: a *Refusal says what an instance would be refused for.
func SignGrant(key crypto.PrivKey, g Grant, above *Grants) (*Grants, error) {
	payload, err := g.marshal()
	if err != nil {
		return nil, err
	}
	envelope, err := seal(grantKind, payload, key)
	if err != nil {
		return nil, err
	}
	chain := &recordpb.GrantChain{Envelopes: [][]byte{envelope}}
	if above != nil {
		var upper recordpb.GrantChain
		if err := proto.Unmarshal(above.Bytes, &upper); err != nil {
			return nil, refuse(CodeGrant, "%v", err)
		}
		chain.Envelopes = append(chain.Envelopes, upper.Envelopes...)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(chain)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return OpenGrants(data)
}

// ParseGrants reads what Text writes.
func ParseGrants(text string) (*Grants, error) {
	text = strings.TrimSpace(text)
	if len(text) > base64.StdEncoding.EncodedLen(MaxChain*(maxGrantSize+8)) {
		return nil, refuse(CodeSize, "a grant of %d characters", len(text))
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, refuse(CodeGrant, "it is not one line of base64, as `cellnode grant` prints it")
	}
	return OpenGrants(data)
}

// OpenGrants reads a chain and verifies its signatures and that each link only narrows the one above it. Who signed the last
// one, and whether it is valid now, is for an Authority to judge.
func OpenGrants(data []byte) (*Grants, error) {
	if len(data) > MaxChain*(maxGrantSize+8) {
		return nil, refuse(CodeChain, "%d bytes: a chain has at most %d grants", len(data), MaxChain)
	}
	var chain recordpb.GrantChain
	if err := proto.Unmarshal(data, &chain); err != nil {
		return nil, refuse(CodeGrant, "%v", err)
	}
	switch n := len(chain.Envelopes); {
	case n == 0:
		return nil, refuse(CodeGrant, "it is empty")
	case n > MaxChain:
		return nil, refuse(CodeChain, "%d grants in a chain, at most %d", n, MaxChain)
	}
	g := &Grants{Bytes: bytes.Clone(data)}
	for _, envelope := range chain.Envelopes {
		grant, err := openGrant(envelope)
		if err != nil {
			return nil, err
		}
		g.Chain = append(g.Chain, *grant)
	}
	if len(g.Chain) == MaxChain {
		if err := g.Chain[0].within(&g.Chain[1]); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func openGrant(data []byte) (*Grant, error) {
	if len(data) > maxGrantSize {
		return nil, refuse(CodeSize, "a grant of %d bytes, at most %d", len(data), maxGrantSize)
	}
	env, err := unseal(grantKind, data)
	if err != nil {
		return nil, err
	}
	var msg recordpb.Grant
	if err := proto.Unmarshal(env.RawPayload, &msg); err != nil {
		return nil, refuse(CodePayload, "grant: %v", err)
	}
	g, err := grantOf(&msg)
	if err != nil {
		return nil, err
	}
	if g.Issuer, err = peer.IDFromPublicKey(env.PublicKey); err != nil {
		return nil, refuse(CodeKeyType, "%v", err)
	}
	return g, checkSignature(grantKind, data)
}

// within holds a grant to the one by which its signer may issue.
func (g *Grant) within(above *Grant) error {
	switch {
	case g.Issuer != above.Peer:
		return refuse(CodeChain, "signed by %s, the grant above it is for %s", g.Issuer, above.Peer)
	case !slices.Contains(above.Capabilities, Issue):
		return refuse(CodeChain, "signed by %s, who may not issue", g.Issuer)
	case slices.Contains(g.Capabilities, Issue):
		return refuse(CodeChain, "it lets %s issue, which only a publisher can", g.Peer)
	case !g.Cell.Equals(above.Cell):
		return refuse(CodeChain, "it is for another cell than the grant above it")
	case above.Commit != "" && g.Commit != above.Commit:
		return refuse(CodeChain, "it is wider than the grant above it: commit")
	case g.NotBefore.Before(above.NotBefore) || g.NotAfter.After(above.NotAfter):
		return refuse(CodeChain, "it is wider than the grant above it: time")
	}
	return nil
}

func (g *Grant) marshal() ([]byte, error) {
	commit, err := hex.DecodeString(g.Commit)
	if err != nil {
		return nil, refuse(CodePayload, "commit %q is not hexadecimal", g.Commit)
	}
	msg := &recordpb.Grant{
		Cell: g.Cell.Bytes(), Commit: commit, Peer: []byte(g.Peer), NotBefore: g.NotBefore.Unix(), NotAfter: g.NotAfter.Unix(), Serial: g.Serial,
	}
	for _, c := range g.Capabilities {
		msg.Capabilities = append(msg.Capabilities, recordpb.Capability(c))
	}
	if _, err := grantOf(msg); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(msg)
}

// grantOf holds a payload to what both ends agree on.
func grantOf(msg *recordpb.Grant) (*Grant, error) {
	cell, err := cid.Cast(msg.Cell)
	if err != nil {
		return nil, refuse(CodePayload, "grant: cell: %v", err)
	}
	id, err := peer.IDFromBytes(msg.Peer)
	if err != nil {
		return nil, refuse(CodePayload, "grant: peer: %v", err)
	}
	g := &Grant{
		Cell: cell, Commit: hex.EncodeToString(msg.Commit), Peer: id, Serial: msg.Serial,
		NotBefore: time.Unix(msg.NotBefore, 0), NotAfter: time.Unix(msg.NotAfter, 0),
	}
	for _, c := range msg.Capabilities {
		if c != recordpb.Capability_CAPABILITY_SERVE && c != recordpb.Capability_CAPABILITY_ISSUE {
			return nil, refuse(CodePayload, "grant: capability %d is not known", c)
		}
		g.Capabilities = append(g.Capabilities, Capability(c))
	}
	longest := MaxGrant
	if slices.Contains(g.Capabilities, Issue) {
		longest = MaxIssue
	}
	switch valid := g.Valid(); {
	case len(msg.Commit) != 0 && len(msg.Commit) != 20 && len(msg.Commit) != 32:
		return nil, refuse(CodePayload, "grant: a commit has 20 or 32 bytes, not %d", len(msg.Commit))
	case len(g.Capabilities) == 0:
		return nil, refuse(CodePayload, "grant: it allows nothing")
	case g.Serial == 0:
		return nil, refuse(CodePayload, "grant: it has no serial")
	case valid <= 0 || valid > longest:
		return nil, refuse(CodePayload, "grant: valid for %s, at most %s", valid, longest)
	}
	return g, nil
}
