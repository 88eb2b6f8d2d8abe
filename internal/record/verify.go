package record

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
)

const (
	maxAddrSize   = 256
	MaxClockAhead = 10 * time.Minute // of an incarnation; a clock further ahead is refused, not followed
)

// kind keeps a signature over one kind of record from being taken for one over another.
type kind struct{ domain, payloadType string }

var (
	instanceKind = kind{"cell/instance/v1", "/cell/instance/1"}
	grantKind    = kind{"cell/grant/v1", "/cell/grant/1"}
)

// Verify opens an Instance record of the given cell. It returns a *Refusal for anything that is not a record of
// that cell, valid at now and signed by the peer that it names. Data is not kept: the result owns a copy.
func Verify(data []byte, cell cid.Cid, now time.Time) (*Signed, error) {
	if len(data) > MaxSize {
		return nil, refuse(CodeSize, "%d bytes, at most %d", len(data), MaxSize)
	}
	env, err := unseal(instanceKind, data)
	if err != nil {
		return nil, err
	}
	in, err := unmarshal(env.RawPayload)
	if err != nil {
		return nil, err
	}
	if !in.Cell.Equals(cell) {
		return nil, refuse(CodeCell, "is for cell %s, not %s", in.Cell, cell)
	}
	if !in.Peer.MatchesPublicKey(env.PublicKey) {
		return nil, refuse(CodeSigner, "names %s, signed by another", in.Peer)
	}
	if err := checkTimes(in, now); err != nil {
		return nil, err
	}
	if err := checkAddrs(in.Addrs); err != nil {
		return nil, err
	}
	if err := checkSignature(instanceKind, data); err != nil {
		return nil, err
	}
	return &Signed{*in, bytes.Clone(data)}, nil
}

// unseal opens an envelope of a kind without verifying its signature.
func unseal(k kind, data []byte) (*record.Envelope, error) {
	env, err := record.UnmarshalEnvelope(data)
	if err != nil {
		return nil, refuse(CodeEnvelope, "%v", err)
	}
	if string(env.PayloadType) != k.payloadType {
		return nil, refuse(CodeType, "payload type %q, want %q", env.PayloadType, k.payloadType)
	}
	if t := env.PublicKey.Type(); t != pb.KeyType_Ed25519 {
		return nil, refuse(CodeKeyType, "signed with %s, only Ed25519 is taken", t)
	}
	return env, nil
}

func checkSignature(k kind, data []byte) error {
	if _, err := record.ConsumeTypedEnvelope(data, &sealed{k, nil}); err != nil {
		return refuse(CodeSig, "%v", err)
	}
	return nil
}

// seal signs a payload.
func seal(k kind, payload []byte, key crypto.PrivKey) ([]byte, error) {
	env, err := record.Seal(&sealed{k, payload}, key)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	data, err := env.Marshal()
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return data, nil
}

// sealed carries a payload through libp2p's envelope without interpreting it.
type sealed struct {
	kind
	payload []byte
}

func (s *sealed) Domain() string                 { return s.domain }
func (s *sealed) Codec() []byte                  { return []byte(s.payloadType) }
func (s *sealed) MarshalRecord() ([]byte, error) { return s.payload, nil }
func (s *sealed) UnmarshalRecord(b []byte) error { s.payload = b; return nil }

func unmarshal(payload []byte) (*Instance, error) {
	var msg recordpb.Instance
	if err := proto.Unmarshal(payload, &msg); err != nil {
		return nil, refuse(CodePayload, "%v", err)
	}
	if err := checkFields(&msg); err != nil {
		return nil, err
	}
	cell, err := cid.Cast(msg.Cell)
	if err != nil {
		return nil, refuse(CodePayload, "cell: %v", err)
	}
	id, err := peer.IDFromBytes(msg.Peer)
	if err != nil {
		return nil, refuse(CodePayload, "peer: %v", err)
	}
	in := &Instance{
		Cell: cell, Peer: id, Incarnation: msg.Incarnation, Seq: msg.Seq, State: State(msg.State),
		Confirmed: msg.Confirmed, Issued: time.Unix(msg.Issued, 0), Expires: time.Unix(msg.Expires, 0),
		Commit: hex.EncodeToString(msg.Commit), Fingerprint: hex.EncodeToString(msg.Fingerprint), Grant: msg.Grant,
	}
	for n, b := range slices.Concat(msg.Addrs, msg.Circuits) {
		a, err := ma.NewMultiaddrBytes(b)
		switch {
		case err != nil:
			return nil, refuse(CodeAddr, "%v", err)
		case isCircuit(a) != (n >= len(msg.Addrs)):
			return nil, refuse(CodeAddr, "%s does not stand among its kind", a)
		}
		in.Addrs = append(in.Addrs, a)
	}
	return in, nil
}

// checkFields holds a payload to what both ends agree on, before anything is built from it.
func checkFields(msg *recordpb.Instance) error {
	switch {
	case msg.State < recordpb.State_STATE_SERVING || msg.State > recordpb.State_STATE_UNHEALTHY:
		return refuse(CodePayload, "state %d is not known", msg.State)
	case len(msg.Commit) != 0 && len(msg.Commit) != 20 && len(msg.Commit) != 32:
		return refuse(CodePayload, "a commit has 20 or 32 bytes, not %d", len(msg.Commit))
	case len(msg.Fingerprint) != 0 && len(msg.Fingerprint) != 32:
		return refuse(CodePayload, "a fingerprint has 32 bytes, not %d", len(msg.Fingerprint))
	case len(msg.Addrs) > MaxAddrs:
		return refuse(CodeAddr, "%d addresses, at most %d", len(msg.Addrs), MaxAddrs)
	case len(msg.Circuits) > MaxCircuits:
		return refuse(CodeAddr, "%d relays, at most %d", len(msg.Circuits), MaxCircuits)
	}
	return nil
}

func checkTimes(in *Instance, now time.Time) error {
	started := time.UnixMilli(int64(in.Incarnation))
	switch {
	case now.After(in.Expires.Add(Leeway)):
		return refuse(CodeExpired, "ended at %s", in.Expires.UTC().Format(time.RFC3339))
	case in.Expires.Sub(in.Issued) > Validity:
		return refuse(CodeFuture, "is valid for %s, at most %s", in.Expires.Sub(in.Issued), Validity)
	case in.Issued.After(now.Add(Leeway)):
		return refuse(CodeFuture, "issued at %s; is a clock wrong?", in.Issued.UTC().Format(time.RFC3339))
	case in.Incarnation > 1<<62 || started.After(now.Add(MaxClockAhead)):
		return refuse(CodeFuture, "incarnation %d lies ahead; is a clock wrong?", in.Incarnation)
	}
	return nil
}

// checkAddrs takes what cell/1 can dial: an IP address or a DNS name, then QUIC on UDP or TLS on TCP; and relays, which are
// dialled by QUIC.
func checkAddrs(addrs []ma.Multiaddr) error {
	direct, circuits := SplitCircuits(addrs)
	switch {
	case len(direct) > MaxAddrs:
		return refuse(CodeAddr, "%d addresses, at most %d", len(direct), MaxAddrs)
	case len(circuits) > MaxCircuits:
		return refuse(CodeAddr, "%d relays, at most %d", len(circuits), MaxCircuits)
	}
	for _, a := range direct {
		if len(a.Bytes()) > maxAddrSize || !dialForm(a) {
			return refuse(CodeAddr, "%s is not /ip4|ip6|dns…/udp/PORT/quic-v1 or …/tcp/PORT/tls", a)
		}
	}
	for _, a := range circuits {
		if len(a.Bytes()) > maxAddrSize || !circuitForm(a) {
			return refuse(CodeAddr, "%s is not /ip4|ip6/…/udp/PORT/quic-v1/p2p/RELAY/p2p-circuit", a)
		}
	}
	return nil
}

// SplitCircuits returns the addresses that are dialled, and those of relays behind which a peer can be asked for a direct
// path.
func SplitCircuits(addrs []ma.Multiaddr) (direct, circuits []ma.Multiaddr) {
	for _, a := range addrs {
		if isCircuit(a) {
			circuits = append(circuits, a)
		} else {
			direct = append(direct, a)
		}
	}
	return direct, circuits
}

func isCircuit(a ma.Multiaddr) bool {
	return len(a) > 0 && a[len(a)-1].Protocol().Code == ma.P_CIRCUIT
}

func circuitForm(a ma.Multiaddr) bool {
	if len(a) != 5 || a[3].Protocol().Code != ma.P_P2P || !dialForm(a[:3]) {
		return false
	}
	ip := a[0].Protocol().Code
	return (ip == ma.P_IP4 || ip == ma.P_IP6) && a[2].Protocol().Code == ma.P_QUIC_V1
}

func dialForm(a ma.Multiaddr) bool {
	if len(a) != 3 {
		return false
	}
	switch a[0].Protocol().Code {
	case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
	default:
		return false
	}
	transport, security := a[1].Protocol().Code, a[2].Protocol().Code
	return transport == ma.P_UDP && security == ma.P_QUIC_V1 || transport == ma.P_TCP && security == ma.P_TLS
}
