package record

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/record/recordpb"
)

var (
	testCell  = cid.MustParse("bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm")
	otherCell = cid.MustParse("bafkreicue6oiwv3kbcsubeelelsiyiaf2ttycfvlovukqvw3ulwc3dbvn4")
	testNow   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testInstance() Instance {
	return Instance{
		Cell: testCell, Incarnation: uint64(testNow.UnixMilli()), Seq: 3, State: Serving,
		Addrs: []ma.Multiaddr{
			ma.StringCast("/ip4/192.0.2.1/udp/40000/quic-v1"), ma.StringCast("/ip6/2001:db8::1/tcp/40000/tls"),
		},
		Issued: testNow, Expires: testNow.Add(Validity),
		Commit:      strings.Repeat("ab", 20),
		Fingerprint: strings.Repeat("cd", 32),
	}
}

func TestVerifiedRecordSaysWhatWasSigned(t *testing.T) {
	signed, err := Sign(newKey(t), testInstance())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(signed.Envelope, testCell, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Issued.Equal(signed.Issued) || !got.Expires.Equal(signed.Expires) {
		t.Errorf("times: got %v to %v, want %v to %v", got.Issued, got.Expires, signed.Issued, signed.Expires)
	}
	got.Issued, got.Expires, got.Grant = signed.Issued, signed.Expires, signed.Grant
	if !reflect.DeepEqual(got, signed) {
		t.Errorf("got %+v\nwant %+v", got, signed)
	}
}

func TestEachRefusalHasItsCode(t *testing.T) {
	key := newKey(t)
	sign := func(change func(*Instance)) []byte {
		in := testInstance()
		change(&in)
		s, err := Sign(key, in)
		if err != nil {
			t.Fatal(err)
		}
		return s.Envelope
	}
	// seal signs any payload, as somebody who does not keep to this package's rules could.
	seal := func(key crypto.PrivKey, rec record.Record) []byte {
		env, err := record.Seal(rec, key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := env.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	payload := func(signer crypto.PrivKey, change func(*recordpb.Instance)) []byte {
		in := testInstance()
		in.Peer, _ = peer.IDFromPrivateKey(signer)
		b, err := in.marshal()
		if err != nil {
			t.Fatal(err)
		}
		var msg recordpb.Instance
		if err := proto.Unmarshal(b, &msg); err != nil {
			t.Fatal(err)
		}
		change(&msg)
		b, err = proto.Marshal(&msg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	rsa, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := sign(func(*Instance) {})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1

	for _, tt := range []struct {
		name string
		data []byte
		want Code
	}{
		{"too large", make([]byte, MaxSize+1), CodeSize},
		{"not an envelope", []byte("hello"), CodeEnvelope},
		{"empty", nil, CodeEnvelope},
		{"another kind of record", seal(key, &otherKind{sealed{instanceKind, nil}}), CodeType},
		{"RSA key", seal(rsa, &sealed{instanceKind, payload(rsa, func(*recordpb.Instance) {})}), CodeKeyType},
		{"garbage payload", seal(key, &sealed{instanceKind, []byte{0xff}}), CodePayload},
		{"unknown state", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) { m.State = 9 })}), CodePayload},
		{"short commit", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) { m.Commit = []byte{1} })}), CodePayload},
		{"short fingerprint", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) { m.Fingerprint = []byte{1} })}), CodePayload},
		{"another cell", sign(func(in *Instance) { in.Cell = otherCell }), CodeCell},
		{"another signer", seal(newKey(t), &sealed{instanceKind, payload(key, func(*recordpb.Instance) {})}), CodeSigner},
		{"expired", sign(func(in *Instance) { in.Issued, in.Expires = testNow.Add(-time.Hour), testNow.Add(-Leeway-time.Second) }), CodeExpired},
		{"valid for too long", sign(func(in *Instance) { in.Expires = testNow.Add(Validity + time.Second) }), CodeFuture},
		{"issued ahead", sign(func(in *Instance) { in.Issued = testNow.Add(Leeway + time.Second) }), CodeFuture},
		{"incarnation ahead", sign(func(in *Instance) { in.Incarnation = uint64(testNow.Add(11 * time.Minute).UnixMilli()) }), CodeFuture},
		{"last incarnation", sign(func(in *Instance) { in.Incarnation = 1<<64 - 1 }), CodeFuture},
		{"five addresses", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			for len(m.Addrs) < 5 {
				m.Addrs = append(m.Addrs, m.Addrs[0])
			}
		})}), CodeAddr},
		{"relay address", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			m.Addrs[0] = ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1/p2p-circuit").Bytes()
		})}), CodeAddr},
		{"circuit among addresses", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			m.Addrs[0] = testCircuit(t, 1).Bytes()
		})}), CodeAddr},
		{"address among circuits", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			m.Circuits = m.Addrs[:1]
		})}), CodeAddr},
		{"three relays", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			m.Circuits = [][]byte{testCircuit(t, 1).Bytes(), testCircuit(t, 2).Bytes(), testCircuit(t, 3).Bytes()}
		})}), CodeAddr},
		{"relay without a peer", seal(key, &sealed{instanceKind, payload(key, func(m *recordpb.Instance) {
			m.Circuits = [][]byte{ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1/p2p-circuit").Bytes()}
		})}), CodeAddr},
		{"wrong signature", flipped, CodeSig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Verify(tt.data, testCell, testNow)
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

type otherKind struct{ sealed }

func (*otherKind) Codec() []byte                  { return []byte("/cell/grant/1") }
func (*otherKind) MarshalRecord() ([]byte, error) { return nil, nil }

// testCircuit is a relay's address as an instance behind a NAT names it.
func testCircuit(t *testing.T, port int) ma.Multiaddr {
	t.Helper()
	id, err := peer.IDFromPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return ma.StringCast(fmt.Sprintf("/ip4/192.0.2.1/udp/%d/quic-v1/p2p/%s/p2p-circuit", port, id))
}

// Readers that know nothing of relays refuse an address of another form than theirs, so relays stand in a field of their own.
func TestRelaysStandBehindTheAddresses(t *testing.T) {
	in := testInstance()
	direct := len(in.Addrs)
	in.Addrs = append(in.Addrs, testCircuit(t, 1), testCircuit(t, 2))
	s, err := Sign(newKey(t), in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(s.Envelope, testCell, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got.Addrs, in.Addrs, ma.Multiaddr.Equal) {
		t.Errorf("%v came back as %v", in.Addrs, got.Addrs)
	}
	env, err := record.UnmarshalEnvelope(s.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	var msg recordpb.Instance
	if err := proto.Unmarshal(env.RawPayload, &msg); err != nil {
		t.Fatal(err)
	}
	if len(msg.Addrs) != direct || len(msg.Circuits) != 2 {
		t.Errorf("%d addresses and %d relays on the wire", len(msg.Addrs), len(msg.Circuits))
	}
}

func TestClocksMayDifferByTheLeeway(t *testing.T) {
	s, err := Sign(newKey(t), testInstance())
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{testNow.Add(-Leeway), testNow.Add(Validity + Leeway)} {
		if _, err := Verify(s.Envelope, testCell, now); err != nil {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

func TestNewerOrdersByIncarnationThenSeq(t *testing.T) {
	at := func(incarnation, seq uint64) *Signed {
		return &Signed{Instance: Instance{Incarnation: incarnation, Seq: seq}}
	}
	for _, tt := range []struct {
		s, old *Signed
		want   bool
	}{
		{at(1, 1), nil, true},
		{at(1, 2), at(1, 1), true},
		{at(1, 1), at(1, 1), false},
		{at(2, 0), at(1, 9), true},
		{at(1, 9), at(2, 0), false},
	} {
		if got := tt.s.Newer(tt.old); got != tt.want {
			t.Errorf("%+v newer than %+v: %v, want %v", tt.s, tt.old, got, tt.want)
		}
	}
}

func TestSignRefusesWhatVerifyWould(t *testing.T) {
	for name, change := range map[string]func(*Instance){
		"addresses":   func(in *Instance) { in.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/tcp/1")} },
		"commit":      func(in *Instance) { in.Commit = "main" },
		"fingerprint": func(in *Instance) { in.Fingerprint = "zz" },
		"state":       func(in *Instance) { in.State = 0 },
		"size":        func(in *Instance) { in.Grant = make([]byte, MaxSize) },
	} {
		in := testInstance()
		change(&in)
		if _, err := Sign(newKey(t), in); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// FuzzVerify holds Verify to two promises: what it takes re-verifies to the same record, and no changed byte of it
// is taken for the same record.
func FuzzVerify(f *testing.F) {
	key := newKey(f)
	s, err := Sign(key, testInstance())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Envelope, uint16(7))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		got, err := Verify(data, testCell, testNow)
		if err != nil {
			return
		}
		again, err := Verify(got.Envelope, testCell, testNow)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("re-verified: %v, %+v, want %+v", err, again, got)
		}
		changed := bytes.Clone(data)
		changed[int(at)%len(changed)] ^= 0x10
		if bent, err := Verify(changed, testCell, testNow); err == nil && !reflect.DeepEqual(bent.Instance, got.Instance) {
			t.Fatalf("a changed byte was taken: %+v", bent)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s, err := Sign(newKey(b), testInstance())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Verify(s.Envelope, testCell, testNow); err != nil {
			b.Fatal(err)
		}
	}
}
