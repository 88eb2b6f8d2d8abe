package record

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
	"github.com/cellnode/cellnode/manifest"
)

// Limits of a manifest of binaries.
const (
	// MaxBinaries is how many binaries one manifest may name.
	MaxBinaries = 64
	// MaxBinarySize is the size of the largest binary that one may name, in bytes.
	MaxBinarySize = 1 << 30

	maxBinariesSize = 16 << 10
	maxBinaryText   = 64 // bytes of a system, an architecture or a version
)

var binariesKind = kind{"cell/bin/v1", "/cell/bin/1"}

// Binaries says what a publisher has built from a commit of a cell.
type Binaries struct {
	Cell   cid.Cid
	Commit string    // hex
	Issued time.Time // whole seconds
	List   []Binary  // one for each system
}

// Binary is what was built for one system.
type Binary struct {
	OS, Arch string // as GOOS and GOARCH name them
	Go       string // as runtime.Version says; empty for what is not built by Go
	SHA256   string // hex
	Size     int64  // in bytes
}

// For returns the binary for a system; ok says that there is one.
func (b *Binaries) For(os, arch string) (binary Binary, ok bool) {
	i := slices.IndexFunc(b.List, func(b Binary) bool { return b.OS == os && b.Arch == arch })
	if i < 0 {
		return Binary{}, false
	}
	return b.List[i], true
}

// SealBinaries signs a manifest with a publisher's key.
func SealBinaries(key crypto.PrivKey, b Binaries) ([]byte, error) {
	commit, err := hex.DecodeString(b.Commit)
	if err != nil {
		return nil, refuse(CodePayload, "commit %q is not hexadecimal", b.Commit)
	}
	msg := &recordpb.Binaries{Cell: b.Cell.Bytes(), Commit: commit, Issued: b.Issued.Unix()}
	for _, one := range b.List {
		sum, err := hex.DecodeString(one.SHA256)
		if err != nil {
			return nil, refuse(CodePayload, "the hash %q is not hexadecimal", one.SHA256)
		}
		msg.Binaries = append(msg.Binaries, &recordpb.Binary{Os: one.OS, Arch: one.Arch, GoVersion: one.Go, Sha256: sum, Size: one.Size})
	}
	if _, err := binariesOf(msg); err != nil {
		return nil, err
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return nil, err
	}
	return seal(binariesKind, payload, key)
}

// Binaries opens a manifest of the binaries of a commit. It returns a *Refusal unless a key that may sign binaries, by the
// newest trust document, has signed it for this cell and commit.
func (a *Authority) Binaries(data []byte, commit string, now time.Time) (*Binaries, error) {
	if a == nil {
		return nil, refuse(CodeIssuer, "the cell is open: it has no publishers who could sign binaries")
	}
	if len(data) > maxBinariesSize {
		return nil, refuse(CodeSize, "a manifest of binaries of %d bytes, at most %d", len(data), maxBinariesSize)
	}
	env, err := unseal(binariesKind, data)
	if err != nil {
		return nil, err
	}
	var msg recordpb.Binaries
	if err := proto.Unmarshal(env.RawPayload, &msg); err != nil {
		return nil, refuse(CodePayload, "binaries: %v", err)
	}
	b, err := binariesOf(&msg)
	if err != nil {
		return nil, err
	}
	raw, err := env.PublicKey.Raw()
	if err != nil {
		return nil, refuse(CodeKeyType, "%v", err)
	}
	switch trust, key := a.now.Load(), manifest.FormatKey(raw); {
	case !b.Cell.Equals(a.cell):
		return nil, refuse(CodeCell, "the binaries are of cell %s, not %s", b.Cell, a.cell)
	case b.Commit != commit:
		return nil, refuse(CodeCommit, "the binaries are of commit %s, not %s", b.Commit, commit)
	case b.Issued.After(now.Add(Leeway)):
		return nil, refuse(CodeFuture, "the binaries are of %s; is a clock wrong?", b.Issued.UTC().Format(time.RFC3339))
	case trust.last != nil && now.After(trust.Expires):
		return nil, refuse(CodeTrust, "version %d of the trust document ended at %s", trust.Version, trust.Expires.UTC().Format(time.RFC3339))
	case !slices.Contains(trust.May(SignBinaries), key):
		return nil, refuse(CodeIssuer, "the binaries are signed by %s, who is no publisher of the cell for that", key)
	}
	return b, checkSignature(binariesKind, data)
}

// binariesOf holds a payload to what both ends agree on.
func binariesOf(msg *recordpb.Binaries) (*Binaries, error) {
	cell, err := cid.Cast(msg.Cell)
	if err != nil {
		return nil, refuse(CodePayload, "binaries: cell: %v", err)
	}
	if n := len(msg.Commit); n != 20 && n != 32 {
		return nil, refuse(CodePayload, "binaries: a commit has 20 or 32 bytes, not %d", n)
	}
	if n := len(msg.Binaries); n == 0 || n > MaxBinaries {
		return nil, refuse(CodePayload, "binaries: there are %d, want 1 to %d", n, MaxBinaries)
	}
	b := &Binaries{Cell: cell, Commit: hex.EncodeToString(msg.Commit), Issued: time.Unix(msg.Issued, 0)}
	for _, one := range msg.Binaries {
		switch {
		case one.Os == "" || one.Arch == "" || max(len(one.Os), len(one.Arch), len(one.GoVersion)) > maxBinaryText:
			return nil, refuse(CodePayload, "binaries: %.80q/%.80q is no system", one.Os, one.Arch)
		case len(one.Sha256) != 32:
			return nil, refuse(CodePayload, "binaries: a hash has 32 bytes, not %d", len(one.Sha256))
		case one.Size <= 0 || one.Size > MaxBinarySize:
			return nil, refuse(CodePayload, "binaries: a binary of %d bytes, at most %d", one.Size, MaxBinarySize)
		}
		if _, twice := b.For(one.Os, one.Arch); twice {
			return nil, refuse(CodePayload, "binaries: %s/%s stands there twice", one.Os, one.Arch)
		}
		b.List = append(b.List, Binary{one.Os, one.Arch, one.GoVersion, hex.EncodeToString(one.Sha256), one.Size})
	}
	return b, nil
}
