package gossip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
	"github.com/cellnode/cellnode/internal/record"
)

func testPeer(b byte) peer.ID { return peer.ID(ed25519ID + strings.Repeat(string([]byte{b}), 32)) }

// messages has one of each kind, every field set.
func messages() []Message {
	nonce, v := Nonce{1, 2, 3}, Version{1795354200000, 7}
	sig := bytes.Repeat([]byte{9}, 64)
	vote := Vote{Voter: testPeer(2), At: time.UnixMilli(1795354200123), Waited: 1500 * time.Millisecond, Signature: sig}
	death := Death{&Certificate{testPeer(1), v, time.Unix(1795354300, 0), []Vote{vote, vote}}, 250 * time.Millisecond}
	buckets := &Buckets{Count: 3}
	buckets.Hashes[7] = 42
	return []Message{
		&Hello{Record: []byte("record"), Count: 3, Root: 77},
		&Ping{ID: 5, Nonce: &nonce, Voted: &v},
		&Ping{ID: 6},
		&Ack{ID: 5, Next: 8 * time.Second, State: record.Serving, Seq: 4, Nonce: &nonce, Signature: sig},
		&Push{Records: [][]byte{[]byte("one"), []byte("two")}, Deaths: []Death{death}, Quiet: true},
		&Ask{Subject: testPeer(1), Version: v, Nonce: nonce},
		&Answer{Subject: testPeer(1), Nonce: nonce, Version: v, Vote: &vote},
		&Answer{Subject: testPeer(1), Nonce: nonce, Alive: sig},
		&Answer{Subject: testPeer(1), Nonce: nonce, Record: []byte("newer")},
		&Root{Root: 1, Count: 2, Trust: 3},
		buckets,
		&IDs{Buckets: []byte{1, 255}, IDs: []ID{{testPeer(3), v, 99}}},
		&Want{Peers: []peer.ID{testPeer(1), testPeer(2)}},
		&Have{Deaths: []ID{{Peer: testPeer(3), Version: v}}},
	}
}

func mustEncode(t testing.TB, m Message) []byte {
	t.Helper()
	data, err := Encode(m, testCell)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(data []byte) (Message, error) {
	frame, err := readFrame(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return nil, err
	}
	return fromFrame(frame)
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range messages() {
		got, err := decode(mustEncode(t, m))
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v\nwant %+v", got, m)
		}
		if whole, err := Decode(mustEncode(t, m)); err != nil || !reflect.DeepEqual(whole, m) {
			t.Errorf("Decode: %+v, %v", whole, err)
		}
	}
}

// TestIdleFramesAreSmall holds the two frames that make up an idle second to what the cost of an instance allows.
func TestIdleFramesAreSmall(t *testing.T) {
	ping := len(mustEncode(t, &Ping{ID: 100_000}))
	ack := len(mustEncode(t, &Ack{ID: 100_000, Next: 8 * time.Second, State: record.Serving, Seq: 200}))
	if ping > 8 || ack > 20 {
		t.Errorf("ping %d bytes, ack %d", ping, ack)
	}
}

func TestCertificateOfFiveVotesIsSmall(t *testing.T) {
	vote := Vote{Voter: testPeer(2), At: worldStart, Waited: time.Second, Signature: make([]byte, 64)}
	c := &Certificate{testPeer(1), Version{1795354200000, 7}, worldStart, []Vote{vote, vote, vote, vote, vote}}
	if n := len(mustEncode(t, &Push{Deaths: []Death{{c, time.Second}}})); n > 700 {
		t.Errorf("%d bytes, want at most 700", n)
	}
}

func TestUnknownFieldsAndFramesAreIgnored(t *testing.T) {
	body, err := proto.Marshal(toFrame(&Ping{ID: 5}, testCell))
	if err != nil {
		t.Fatal(err)
	}
	body = protowire.AppendTag(body, 999, protowire.BytesType)
	body = protowire.AppendString(body, "from a later version")
	got, err := decode(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	if err != nil || !reflect.DeepEqual(got, &Ping{ID: 5}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if m, err := decode([]byte{0}); m != nil || err != nil {
		t.Errorf("an unknown frame: %v, %v", m, err)
	}
}

func TestMalformedFramesAreRefused(t *testing.T) {
	for _, data := range [][]byte{nil, {2, 0}, {0, 0}} {
		if m, err := Decode(data); !errors.Is(err, errFrame) {
			t.Errorf("%v: %+v, %v", data, m, err)
		}
	}
	huge := binary.AppendUvarint(nil, MaxFrame+1)
	if _, err := decode(huge); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a frame over the limit: %v", err)
	}
	short := &pb.Frame{Body: &pb.Frame_Ping{Ping: &pb.Ping{Nonce: []byte{1}}}}
	rsa := &pb.Frame{Body: &pb.Frame_Want{Want: &pb.Want{Peers: [][]byte{[]byte("QmRSA")}}}}
	empty := &pb.Frame{Body: &pb.Frame_Push{Push: &pb.Push{Certificates: []*pb.Certificate{{Subject: []byte(testPeer(1))}}}}}
	many := &pb.Frame{Body: &pb.Frame_Push{Push: &pb.Push{Certificates: []*pb.Certificate{{
		Subject: []byte(testPeer(1)), Votes: make([]*pb.Vote, MaxVotes+1),
	}}}}}
	large := &pb.Frame{Body: &pb.Frame_Hello{Hello: &pb.Hello{Record: make([]byte, record.MaxSize+1)}}}
	few := &pb.Frame{Body: &pb.Frame_Buckets{Buckets: &pb.Buckets{Hashes: make([]uint64, 255)}}}
	state := &pb.Frame{Body: &pb.Frame_Ack{Ack: &pb.Ack{State: 9}}}
	for i, f := range []*pb.Frame{short, rsa, empty, many, large, few, state} {
		if m, err := fromFrame(f); !errors.Is(err, errFrame) {
			t.Errorf("%d: %+v, %v", i, m, err)
		}
	}
}

// FuzzFrame holds the decoder to two promises: no input breaks it, and what it takes survives another trip.
func FuzzFrame(f *testing.F) {
	for _, m := range messages() {
		f.Add(mustEncode(f, m))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil || m == nil {
			return
		}
		again, err := decode(mustEncode(t, m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}
