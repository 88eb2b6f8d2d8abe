// Package record defines the signed records that cross the network, and verifies them. It is pure: no network,
// clock, disk or goroutine.
//
// A record is a protobuf payload (recordpb/record.proto) inside a libp2p record.Envelope: public key, payload
// type, payload, and an Ed25519 signature over the signing domain, the type and the payload. Every kind of record
// has one domain and one payload type of its own, so a signature can never be taken for one over another kind:
//
//	record    signing domain    payload type
//	Instance  cell/instance/v1  /cell/instance/1
//	Grant     cell/grant/v1     /cell/grant/1
//	Trust     cell/trust/v1     /cell/trust/1
//	Binaries  cell/bin/v1       /cell/bin/1
//
// Whoever reads a record checks the cheap things first and the signature last; the first check that fails decides
// the Code of the Refusal:
//
//	size (E_SIZE), envelope (E_ENVELOPE), payload type (E_TYPE), key type (E_KEYTYPE), payload (E_PAYLOAD),
//	cell (E_CELL), signer is the peer named (E_SIGNER), time (E_EXPIRED, E_FUTURE), addresses (E_ADDR),
//	signature (E_SIG)
//
// Whether the signer may serve the cell is a second question, which an [Authority] answers by the record's grant: none
// (E_GRANT), its chain (E_CHAIN), its cell, peer, commit and time (E_CELL, E_PEER, E_COMMIT, E_NOTYET, E_EXPIRED), what it
// allows (E_CAPS), who signed it (E_ISSUER), and whether it was taken back since (E_REVOKED). Who the publishers are is
// said by Cell.toml and by the trust documents after it (E_TRUST, E_THRESHOLD, E_REPLAY), each signed by several keys
// outside an envelope, over the bytes that one would have signed.
//
// libp2p's own ConsumeTypedEnvelope checks neither the payload type nor that the signer is the peer that the
// payload names; both are checked here.
package record

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
)

// Limits of an Instance record.
const (
	// MaxSize is the size of the largest record that is looked at, in bytes.
	MaxSize = 2048
	// MaxAddrs is how many addresses one record may name: few, so that nobody is turned into a weapon by a list of
	// somebody else's addresses.
	MaxAddrs = 4
	// MaxCircuits is how many relays one record may name besides.
	MaxCircuits = 2
	// Validity is how long an Instance record is valid when no grant ends it sooner. It is renewed at half of that.
	Validity = 24 * time.Hour
	// Leeway is the difference between two clocks that is forgiven.
	Leeway = 5 * time.Minute
)

// State is what an instance says of itself.
type State uint8

// The states of an instance. Leaving is final for its incarnation.
const (
	Serving   = State(recordpb.State_STATE_SERVING)
	Draining  = State(recordpb.State_STATE_DRAINING)
	Leaving   = State(recordpb.State_STATE_LEAVING)
	Unhealthy = State(recordpb.State_STATE_UNHEALTHY)
)

// String returns the state's name as it stands in JSON: serving, draining, leaving or unhealthy.
func (s State) String() string {
	switch s {
	case Serving:
		return "serving"
	case Draining:
		return "draining"
	case Leaving:
		return "leaving"
	case Unhealthy:
		return "unhealthy"
	}
	return "unknown"
}

// Instance says who serves a cell and where to reach it. It never says that the instance is alive.
type Instance struct {
	Cell cid.Cid
	Peer peer.ID // the signer; Sign fills it
	// Incarnation grows with each start of the instance, Seq with each record of one incarnation.
	Incarnation, Seq uint64
	State            State
	// Addrs are at most MaxAddrs to be dialled, without /p2p, and behind them at most MaxCircuits where a direct path can
	// be asked for: a relay's, with /p2p/RELAY/p2p-circuit.
	Addrs           []ma.Multiaddr
	Confirmed       bool      // two other nodes have reached Addrs
	Issued, Expires time.Time // whole seconds
	Commit          string    // git commit in hex, or empty
	Fingerprint     string    // SHA-256 of the interface in hex, or empty
	Grant           []byte    // a signed grant, or empty in an open cell
}

// Signed is an Instance whose signature has been made or verified here, with its exact bytes. It is immutable and
// may be shared between goroutines.
type Signed struct {
	Instance
	Envelope []byte
}

// Newer reports whether s replaces old: a higher incarnation, or the same one and a higher sequence number.
// Anything replaces nil.
func (s *Signed) Newer(old *Signed) bool {
	if old == nil {
		return true
	}
	if s.Incarnation != old.Incarnation {
		return s.Incarnation > old.Incarnation
	}
	return s.Seq > old.Seq
}

// Sign makes a record of in, signed with key, which must be Ed25519. Peer is taken from the key; Issued and
// Expires are cut to whole seconds.
func Sign(key crypto.PrivKey, in Instance) (*Signed, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	in.Peer, in.Issued, in.Expires = id, in.Issued.Truncate(time.Second), in.Expires.Truncate(time.Second)
	payload, err := in.marshal()
	if err != nil {
		return nil, err
	}
	data, err := seal(instanceKind, payload, key)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, refuse(CodeSize, "%d bytes, at most %d", len(data), MaxSize)
	}
	return &Signed{in, data}, nil
}

func (in *Instance) marshal() ([]byte, error) {
	if err := checkAddrs(in.Addrs); err != nil {
		return nil, err
	}
	commit, err := hex.DecodeString(in.Commit)
	if err != nil {
		return nil, refuse(CodePayload, "commit %q is not hexadecimal", in.Commit)
	}
	fingerprint, err := hex.DecodeString(in.Fingerprint)
	if err != nil {
		return nil, refuse(CodePayload, "fingerprint %q is not hexadecimal", in.Fingerprint)
	}
	pb := &recordpb.Instance{
		Cell: in.Cell.Bytes(), Peer: []byte(in.Peer),
		Incarnation: in.Incarnation, Seq: in.Seq, State: recordpb.State(in.State), Confirmed: in.Confirmed,
		Issued: in.Issued.Unix(), Expires: in.Expires.Unix(),
		Commit: commit, Fingerprint: fingerprint, Grant: in.Grant,
	}
	direct, circuits := SplitCircuits(in.Addrs)
	for _, a := range direct {
		pb.Addrs = append(pb.Addrs, a.Bytes())
	}
	for _, a := range circuits {
		pb.Circuits = append(pb.Circuits, a.Bytes())
	}
	if err := checkFields(pb); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(pb)
}
