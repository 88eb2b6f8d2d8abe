package gossip

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
	"github.com/cellnode/cellnode/internal/record"
)

// Protocol is the libp2p protocol of gossip streams. Each stream carries frames in one direction: a peer answers on
// the stream that it opened itself. The one exception is a stream that starts with a Ping instead of a Hello: it is
// answered with one Ack on the same stream and closed.
const Protocol = "/cell/gossip/1"

const (
	// MaxFrame is the largest frame taken, in bytes, without its length.
	MaxFrame = 64 << 10
	// pushBudget is what one Push is filled up to, so that a large record cannot lift it over MaxFrame.
	pushBudget = MaxFrame / 2
	// maxListed bounds the entries of one IDs or Want, at up to 52 bytes each.
	maxListed = 1000

	bucketCount = 256
)

// Encode returns a message as it goes over a stream of a cell: one frame, its length before it.
func Encode(m Message, cell cid.Cid) ([]byte, error) { return encodeFrame(toFrame(m, cell)) }

// Decode takes the bytes of one frame as Encode returns them. No signature in the result is verified. A kind of frame
// that is not known gives nil and no error.
func Decode(data []byte) (Message, error) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size > MaxFrame || size != uint64(len(data)-n) {
		return nil, bad("%d bytes are not one frame", len(data))
	}
	frame, err := unmarshalFrame(data[n:])
	if err != nil {
		return nil, err
	}
	return fromFrame(frame)
}

// encodeProbe returns the Ping that opens a stream of its own.
func encodeProbe(m *Ping, cell cid.Cid) ([]byte, error) {
	p := fromPing(m)
	p.Cell = cell.Bytes()
	return encodeFrame(&pb.Frame{Body: &pb.Frame_Ping{Ping: p}})
}

func encodeFrame(frame *pb.Frame) ([]byte, error) {
	body, err := proto.Marshal(frame)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	if len(body) > MaxFrame {
		return nil, fmt.Errorf("gossip: frame of %d bytes, at most %d", len(body), MaxFrame)
	}
	return append(binary.AppendUvarint(make([]byte, 0, len(body)+3), uint64(len(body))), body...), nil
}

// readFrame reads one frame. It takes memory only for frames within MaxFrame.
func readFrame(r *bufio.Reader) (*pb.Frame, error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size > MaxFrame {
		return nil, fmt.Errorf("gossip: frame of %d bytes, at most %d", size, MaxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return unmarshalFrame(body)
}

func unmarshalFrame(body []byte) (*pb.Frame, error) {
	frame := new(pb.Frame)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, frame); err != nil {
		return nil, fmt.Errorf("%w: %v", errFrame, err)
	}
	return frame, nil
}

// frameCell returns the cell that the first frame of a stream names.
func frameCell(f *pb.Frame) (cid.Cid, error) {
	named := f.GetHello().GetCell()
	if p := f.GetPing(); p != nil {
		named = p.GetCell()
	}
	c, err := cid.Cast(named)
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: first frame names no cell", errFrame)
	}
	return c, nil
}

func toFrame(m Message, cell cid.Cid) *pb.Frame {
	switch m := m.(type) {
	case *Hello:
		return &pb.Frame{Body: &pb.Frame_Hello{Hello: &pb.Hello{
			Cell: cell.Bytes(), Record: m.Record, Count: uint32(m.Count), Root: m.Root, Trust: m.Trust,
		}}}
	case *Ping:
		return &pb.Frame{Body: &pb.Frame_Ping{Ping: fromPing(m)}}
	case *Ack:
		return &pb.Frame{Body: &pb.Frame_Ack{Ack: &pb.Ack{
			Id: m.ID, NextMs: millis(m.Next), State: uint32(m.State), Seq: m.Seq,
			Nonce: nonceBytes(m.Nonce), Signature: m.Signature,
		}}}
	case *Push:
		return &pb.Frame{Body: &pb.Frame_Push{Push: fromPush(m)}}
	case *Ask:
		return &pb.Frame{Body: &pb.Frame_Ask{Ask: &pb.Ask{
			Subject: []byte(m.Subject), Incarnation: m.Version.Incarnation, Seq: m.Version.Seq, Nonce: m.Nonce[:],
		}}}
	case *Answer:
		return &pb.Frame{Body: &pb.Frame_Answer{Answer: fromAnswer(m)}}
	case *Root:
		return &pb.Frame{Body: &pb.Frame_Root{Root: &pb.Root{Root: m.Root, Count: uint32(m.Count), Trust: m.Trust}}}
	case *Buckets:
		return &pb.Frame{Body: &pb.Frame_Buckets{Buckets: &pb.Buckets{Hashes: m.Hashes[:], Count: uint32(m.Count)}}}
	case *IDs:
		return &pb.Frame{Body: &pb.Frame_Ids{Ids: fromIDs(m)}}
	case *Want:
		return &pb.Frame{Body: &pb.Frame_Want{Want: &pb.Want{Peers: peerBytes(m.Peers)}}}
	case *Have:
		return &pb.Frame{Body: &pb.Frame_Have{Have: &pb.Have{Deaths: fromIDList(m.Deaths)}}}
	}
	panic(fmt.Sprintf("gossip: no frame for %T", m))
}

func fromPing(m *Ping) *pb.Ping {
	p := &pb.Ping{Id: m.ID, Nonce: nonceBytes(m.Nonce)}
	if m.Voted != nil {
		p.Incarnation, p.Seq = m.Voted.Incarnation, m.Voted.Seq
	}
	return p
}

func fromPush(m *Push) *pb.Push {
	p := &pb.Push{Records: m.Records, Quiet: m.Quiet, Trust: m.Trust}
	for _, d := range m.Deaths {
		c := d.Certificate
		out := &pb.Certificate{
			Subject: []byte(c.Subject), Incarnation: c.Version.Incarnation, Seq: c.Version.Seq,
			Expires: c.Expires.Unix(), AgeMs: millis(d.Age),
		}
		for i := range c.Votes {
			out.Votes = append(out.Votes, fromVote(&c.Votes[i]))
		}
		p.Certificates = append(p.Certificates, out)
	}
	return p
}

func fromVote(v *Vote) *pb.Vote {
	return &pb.Vote{Voter: []byte(v.Voter), AtMs: v.At.UnixMilli(), WaitedMs: millis(v.Waited), Signature: v.Signature}
}

func fromAnswer(m *Answer) *pb.Answer {
	a := &pb.Answer{
		Subject: []byte(m.Subject), Nonce: m.Nonce[:],
		Incarnation: m.Version.Incarnation, Seq: m.Version.Seq, Alive: m.Alive, Record: m.Record,
	}
	if m.Vote != nil {
		a.Vote = fromVote(m.Vote)
	}
	return a
}

func fromIDs(m *IDs) *pb.Ids {
	return &pb.Ids{Buckets: m.Buckets, Ids: fromIDList(m.IDs)}
}

func fromIDList(ids []ID) []*pb.Id {
	out := make([]*pb.Id, len(ids))
	for i, id := range ids {
		out[i] = &pb.Id{Peer: []byte(id.Peer), Incarnation: id.Version.Incarnation, Seq: id.Version.Seq, Sum: id.Sum}
	}
	return out
}

func millis(d time.Duration) uint32 { return uint32(min(max(d.Milliseconds(), 0), 1<<31)) }

func nonceBytes(n *Nonce) []byte {
	if n == nil {
		return nil
	}
	return n[:]
}

func peerBytes(peers []peer.ID) [][]byte {
	out := make([][]byte, len(peers))
	for i, p := range peers {
		out[i] = []byte(p)
	}
	return out
}

// fromFrame turns a frame into a message, holding every field to its limits. Nothing in the result is verified.
func fromFrame(f *pb.Frame) (Message, error) {
	switch b := f.GetBody().(type) {
	case *pb.Frame_Hello:
		return toHello(b.Hello)
	case *pb.Frame_Ping:
		return toPing(b.Ping)
	case *pb.Frame_Ack:
		return toAck(b.Ack)
	case *pb.Frame_Push:
		return toPush(b.Push)
	case *pb.Frame_Ask:
		return toAsk(b.Ask)
	case *pb.Frame_Answer:
		return toAnswer(b.Answer)
	case *pb.Frame_Root:
		return &Root{Root: b.Root.GetRoot(), Count: int(b.Root.GetCount()), Trust: b.Root.GetTrust()}, nil
	case *pb.Frame_Buckets:
		return toBuckets(b.Buckets)
	case *pb.Frame_Ids:
		return toIDs(b.Ids)
	case *pb.Frame_Want:
		return toWant(b.Want)
	case *pb.Frame_Have:
		return toHave(b.Have)
	}
	return nil, nil // a kind of frame that a later version sends
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errFrame}, args...)...)
}

func checkRecord(b []byte) error {
	if len(b) == 0 || len(b) > record.MaxSize {
		return bad("record of %d bytes", len(b))
	}
	return nil
}
