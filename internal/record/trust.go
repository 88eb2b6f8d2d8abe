package record

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
	"github.com/cellnode/cellnode/manifest"
)

// Limits of trust documents.
const (
	// DefaultTrust is how long a version is valid that says nothing else, and MaxTrust how long it may be: whoever is kept
	// from newer versions goes on with an old one for no longer (The Update Framework, section 5.3.10).
	DefaultTrust, MaxTrust = 180 * 24 * time.Hour, 366 * 24 * time.Hour
	// MaxTrustSize is the size of the largest chain of versions that is looked at, in bytes: it fits into one frame of
	// gossip.
	MaxTrustSize = 32 << 10
	// MaxTrustVersions is the length of the longest chain. A version that changes no keys takes the place of the last.
	MaxTrustVersions = 32
	// MaxRevoked is how many peers, and how many serials, one version may revoke. A grant ends by itself within MaxGrant.
	MaxRevoked = 256
)

// PublisherCapability is something that a publisher's key may sign.
type PublisherCapability uint8

// The capabilities of a publisher's key.
const (
	SignTrust    = PublisherCapability(recordpb.PublisherCapability_PUBLISHER_CAPABILITY_TRUST)
	SignGrants   = PublisherCapability(recordpb.PublisherCapability_PUBLISHER_CAPABILITY_GRANT)
	SignBinaries = PublisherCapability(recordpb.PublisherCapability_PUBLISHER_CAPABILITY_BINARY)
)

// PublisherCapabilities are all that there are, as the keys in Cell.toml have them.
func PublisherCapabilities() []PublisherCapability {
	return []PublisherCapability{SignTrust, SignGrants, SignBinaries}
}

// String returns trust, grant or binary.
func (c PublisherCapability) String() string {
	switch c {
	case SignTrust:
		return "trust"
	case SignGrants:
		return "grant"
	case SignBinaries:
		return "binary"
	}
	return "unknown"
}

// A Publisher is a key, as manifest.FormatKey writes it, and what it may sign.
type Publisher struct {
	Key          string
	Capabilities []PublisherCapability
}

// Trust is one version of what a repository says of the publishers of its cells. Version 0 is [trust] of Cell.toml, has
// every capability for each key, and does not expire.
type Trust struct {
	Repository      string // canonical
	Version         uint64
	Publishers      []Publisher
	Threshold       int // how many of those who may sign trust must sign the next version
	Issued, Expires time.Time
	RevokedPeers    []peer.ID
	RevokedSerials  []uint64
}

// FirstTrust is the version 0 that a Cell.toml gives.
func FirstTrust(repository string, t manifest.Trust) Trust {
	first := Trust{Repository: repository, Threshold: max(1, t.Threshold)}
	for _, key := range t.Keys {
		first.Publishers = append(first.Publishers, Publisher{key, PublisherCapabilities()})
	}
	return first
}

// May lists the keys that have a capability.
func (t *Trust) May(c PublisherCapability) []string {
	var keys []string
	for _, p := range t.Publishers {
		if slices.Contains(p.Capabilities, c) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// TrustChain holds the versions that lead from Cell.toml to the newest one. It belongs to one goroutine.
type TrustChain struct{ versions []signedTrust }

type signedTrust struct {
	Trust
	payload    []byte
	signatures map[string][]byte // by key
}

// trustKind has the form of a libp2p envelope's signature, which several keys put under one payload here.
var trustKind = kind{"cell/trust/v1", "/cell/trust/1"}

// unsigned is what an Ed25519 key signs: domain, payload type and payload, each behind its length (libp2p RFC 0002).
func (k kind) unsigned(payload []byte) []byte {
	var out []byte
	for _, part := range [][]byte{[]byte(k.domain), []byte(k.payloadType), payload} {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// ParseTrust reads a chain as Text writes it. Nothing of it is verified but its form.
func ParseTrust(text string) (*TrustChain, error) {
	text = strings.TrimSpace(text)
	if len(text) > base64.StdEncoding.EncodedLen(MaxTrustSize) {
		return nil, refuse(CodeSize, "a trust document of %d characters", len(text))
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, refuse(CodeTrust, "it is not one line of base64, as `cellnode trust` writes it")
	}
	return OpenTrust(data)
}

// OpenTrust reads a chain as Bytes writes it. Nothing of it is verified but its form.
func OpenTrust(data []byte) (*TrustChain, error) {
	if len(data) > MaxTrustSize {
		return nil, refuse(CodeSize, "a trust document of %d bytes, at most %d", len(data), MaxTrustSize)
	}
	var msg recordpb.TrustChain
	if err := proto.Unmarshal(data, &msg); err != nil {
		return nil, refuse(CodeTrust, "%v", err)
	}
	if n := len(msg.Versions); n == 0 || n > MaxTrustVersions {
		return nil, refuse(CodeTrust, "it has %d versions, want 1 to %d", n, MaxTrustVersions)
	}
	c := new(TrustChain)
	for _, v := range msg.Versions {
		s, err := openTrust(v)
		if err != nil {
			return nil, err
		}
		c.versions = append(c.versions, *s)
	}
	return c, nil
}

func openTrust(v *recordpb.SignedTrust) (*signedTrust, error) {
	var msg recordpb.Trust
	if err := proto.Unmarshal(v.Payload, &msg); err != nil {
		return nil, refuse(CodeTrust, "%v", err)
	}
	t, err := trustOf(&msg)
	if err != nil {
		return nil, err
	}
	s := &signedTrust{Trust: *t, payload: v.Payload, signatures: map[string][]byte{}}
	if len(v.Signatures) > 2*manifest.MaxTrustKeys {
		return nil, refuse(CodeTrust, "version %d has %d signatures", t.Version, len(v.Signatures))
	}
	for _, sig := range v.Signatures {
		if len(sig.Key) != ed25519.PublicKeySize || len(sig.Signature) != ed25519.SignatureSize {
			return nil, refuse(CodeTrust, "version %d has a signature of another kind than Ed25519", t.Version)
		}
		s.signatures[manifest.FormatKey(sig.Key)] = sig.Signature
	}
	return s, nil
}

// trustOf holds a payload to what both ends agree on.
func trustOf(msg *recordpb.Trust) (*Trust, error) {
	t := &Trust{
		Repository: msg.Repository, Version: msg.Version, Threshold: int(msg.Threshold),
		Issued: time.Unix(msg.Issued, 0), Expires: time.Unix(msg.Expires, 0), RevokedSerials: msg.RevokedSerials,
	}
	if len(msg.Publishers) > manifest.MaxTrustKeys || len(msg.RevokedPeers) > MaxRevoked || len(msg.RevokedSerials) > MaxRevoked {
		return nil, refuse(CodeTrust, "version %d names more than %d keys or %d revoked ones", t.Version, manifest.MaxTrustKeys, MaxRevoked)
	}
	for _, p := range msg.Publishers {
		if len(p.Key) != ed25519.PublicKeySize {
			return nil, refuse(CodeTrust, "version %d names a key of %d bytes", t.Version, len(p.Key))
		}
		publisher := Publisher{Key: manifest.FormatKey(p.Key)}
		for _, c := range p.Capabilities {
			if !slices.Contains(PublisherCapabilities(), PublisherCapability(c)) {
				return nil, refuse(CodeTrust, "version %d names capability %d, which is not known", t.Version, c)
			}
			publisher.Capabilities = append(publisher.Capabilities, PublisherCapability(c))
		}
		if slices.ContainsFunc(t.Publishers, func(o Publisher) bool { return o.Key == publisher.Key }) {
			return nil, refuse(CodeTrust, "version %d names %s twice", t.Version, publisher.Key)
		}
		t.Publishers = append(t.Publishers, publisher)
	}
	for _, raw := range msg.RevokedPeers {
		id, err := peer.IDFromBytes(raw)
		if err != nil {
			return nil, refuse(CodeTrust, "version %d revokes %x, which is no peer", t.Version, raw)
		}
		t.RevokedPeers = append(t.RevokedPeers, id)
	}
	return t, t.check()
}

func (t *Trust) check() error {
	switch may, valid := len(t.May(SignTrust)), t.Expires.Sub(t.Issued); {
	case t.Version == 0 || t.Version > 1<<62:
		return refuse(CodeTrust, "version %d is none", t.Version)
	case t.Repository == "" || len(t.Repository) > 1024:
		return refuse(CodeTrust, "version %d names no repository", t.Version)
	case t.Threshold < 1 || t.Threshold > may:
		return refuse(CodeTrust, "version %d asks for %d signatures under the next, and %d keys may sign it", t.Version, t.Threshold, may)
	case len(t.May(SignGrants)) == 0:
		return refuse(CodeTrust, "version %d names nobody who may sign grants", t.Version)
	case valid <= 0 || valid > MaxTrust:
		return refuse(CodeTrust, "version %d is valid for %s, at most %s", t.Version, valid, MaxTrust)
	}
	return nil
}

func (t *Trust) marshal() ([]byte, error) {
	msg := &recordpb.Trust{
		Repository: t.Repository, Version: t.Version, Threshold: uint32(t.Threshold),
		Issued: t.Issued.Unix(), Expires: t.Expires.Unix(), RevokedSerials: t.RevokedSerials,
	}
	for _, p := range t.Publishers {
		key, err := manifest.ParseKey(p.Key)
		if err != nil {
			return nil, err
		}
		publisher := &recordpb.Publisher{Key: key}
		for _, c := range p.Capabilities {
			publisher.Capabilities = append(publisher.Capabilities, recordpb.PublisherCapability(c))
		}
		msg.Publishers = append(msg.Publishers, publisher)
	}
	for _, id := range t.RevokedPeers {
		msg.RevokedPeers = append(msg.RevokedPeers, []byte(id))
	}
	if _, err := trustOf(msg); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(msg)
}

// Bytes is the chain as it travels. A nil chain has none.
func (c *TrustChain) Bytes() []byte {
	if c == nil {
		return nil
	}
	msg := new(recordpb.TrustChain)
	for _, v := range c.versions {
		signed := &recordpb.SignedTrust{Payload: v.payload}
		for _, text := range slices.Sorted(keysOf(v.signatures)) {
			key, err := manifest.ParseKey(text)
			if err != nil {
				continue // every key in it was written by FormatKey
			}
			signed.Signatures = append(signed.Signatures, &recordpb.TrustSignature{Key: key, Signature: v.signatures[text]})
		}
		msg.Versions = append(msg.Versions, signed)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return nil // byte strings can always be written
	}
	return data
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Text is the chain on one line of base64, as the repository and files hold it.
func (c *TrustChain) Text() string { return base64.StdEncoding.EncodeToString(c.Bytes()) }

// Newest is the last version. A nil chain has none: then it is first.
func (c *TrustChain) Newest(first Trust) Trust {
	if c == nil {
		return first
	}
	return c.versions[len(c.versions)-1].Trust
}

// Append adds a version, which nobody has signed yet, and returns the longer chain; a nil one becomes one of one version.
func (c *TrustChain) Append(t Trust) (*TrustChain, error) {
	t.Issued, t.Expires = t.Issued.Truncate(time.Second), t.Expires.Truncate(time.Second)
	payload, err := t.marshal()
	if err != nil {
		return nil, err
	}
	longer := new(TrustChain)
	if c != nil {
		longer.versions = slices.Clone(c.versions)
	}
	longer.versions = append(longer.versions, signedTrust{Trust: t, payload: payload, signatures: map[string][]byte{}})
	return longer, nil
}

// Sign puts a signature of a publisher's key under the newest version.
func (c *TrustChain) Sign(key crypto.PrivKey) error {
	raw, err := key.GetPublic().Raw()
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	last := &c.versions[len(c.versions)-1]
	signature, err := key.Sign(trustKind.unsigned(last.payload))
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	last.signatures[manifest.FormatKey(raw)] = signature
	return nil
}

// Verify holds the whole chain to the version 0 of a Cell.toml.
func (c *TrustChain) Verify(first Trust) error {
	before := &first
	for i := range c.versions {
		if err := c.versions[i].follows(before); err != nil {
			return err
		}
		before = &c.versions[i].Trust
	}
	return nil
}

// follows holds a version to the one before it: as many of those who may change trust as that one says, and as the new one
// itself says, have signed it (The Update Framework, section 5.3.4).
func (s *signedTrust) follows(before *Trust) error {
	switch {
	case s.Repository != before.Repository:
		return refuse(CodeCell, "the trust document is of %s, not %s", s.Repository, before.Repository)
	case s.Version <= before.Version:
		return refuse(CodeReplay, "version %d of the trust document comes behind version %d", s.Version, before.Version)
	}
	for _, t := range []*Trust{before, &s.Trust} {
		if err := s.signedBy(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *signedTrust) signedBy(t *Trust) error {
	have := 0
	for _, text := range t.May(SignTrust) {
		signature := s.signatures[text]
		if signature == nil {
			continue
		}
		key, err := manifest.ParseKey(text)
		if err != nil {
			return refuse(CodeTrust, "%v", err)
		}
		if !ed25519.Verify(key, trustKind.unsigned(s.payload), signature) {
			return refuse(CodeSig, "the signature of %s under version %d of the trust document is wrong", text, s.Version)
		}
		have++
	}
	if have < t.Threshold {
		return refuse(CodeThreshold, "version %d of the trust document has %d of the %d signatures that version %d asks for", s.Version, have, t.Threshold, t.Version)
	}
	return nil
}

// Compact leaves out versions that nobody needs in order to verify the newest one. The chain must verify.
func (c *TrustChain) Compact(first Trust) *TrustChain {
	for n := len(c.versions) - 2; n >= 0; n-- {
		shorter := &TrustChain{slices.Delete(slices.Clone(c.versions), n, n+1)}
		if shorter.Verify(first) == nil {
			c = shorter
		}
	}
	return c
}

// continues reports whether a chain goes on from a version that was taken before, and does not take another way.
func (c *TrustChain) continues(at *signedTrust) error {
	for i := range c.versions {
		switch v := &c.versions[i]; {
		case v.Version < at.Version:
		case v.Version == at.Version && bytes.Equal(v.payload, at.payload):
			return nil
		case v.Version == at.Version:
			return refuse(CodeReplay, "another version %d of the trust document was taken before", at.Version)
		default:
			return v.signedBy(&at.Trust)
		}
	}
	return refuse(CodeReplay, "version %d of the trust document was taken before", at.Version)
}
