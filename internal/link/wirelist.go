package link

import (
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/link/linkpb"
	"github.com/cellnode/cellnode/internal/record"
)

const (
	// maxEntries is how many members and gone ones a List may have in all its frames.
	maxEntries = 1024
	maxPeerID  = 64
)

// frames returns the List as one message, or as several that continue each other where one would be too large.
func (l *List) frames() []*linkpb.List {
	head := &linkpb.List{Etag: l.ETag, NotModified: l.NotModified, Full: l.Full, Trust: l.Trust}
	frames, size := []*linkpb.List{head}, proto.Size(head)
	next := func(entry proto.Message) *linkpb.List {
		last := frames[len(frames)-1]
		n := proto.Size(entry) + 8 // its tag and length
		if size+n > maxListFrame-8 {
			last.More = true
			last, size = &linkpb.List{}, 0
			frames = append(frames, last)
		}
		size += n
		return last
	}
	for _, m := range l.Members {
		pb := &linkpb.Member{Record: m.Record.Envelope, AgeMs: uint64(max(0, m.Age.Milliseconds())), Suspect: m.Suspect}
		f := next(pb)
		f.Members = append(f.Members, pb)
	}
	for _, g := range l.Gone {
		pb := &linkpb.Gone{Peer: []byte(g.Peer), Incarnation: g.Incarnation, Reason: g.Reason}
		if g.Leave != nil {
			pb.Leave = g.Leave.Envelope
		}
		f := next(pb)
		f.Gone = append(f.Gone, pb)
	}
	return frames
}

// parseList reads one frame of a List.
func parseList(frame []byte) (*linkpb.List, error) {
	if n, err := countFields(frame); err != nil || n > maxEntries+8 {
		return nil, fmt.Errorf("%w: List: %d fields, %v", ErrFrame, n, err)
	}
	pb := new(linkpb.List)
	if err := discardUnknown.Unmarshal(frame, pb); err != nil {
		return nil, fmt.Errorf("%w: List: %v", ErrFrame, err)
	}
	if len(pb.Trust) > record.MaxTrustSize {
		return nil, fmt.Errorf("%w: List: trust document of %d bytes", ErrFrame, len(pb.Trust))
	}
	if len(pb.Etag) > maxETag {
		return nil, fmt.Errorf("%w: List: etag of %d bytes", ErrFrame, len(pb.Etag))
	}
	return pb, nil
}

// countFields counts the fields on the top level: a frame of empty entries would take forty times its size in
// memory.
func countFields(b []byte) (n int, err error) {
	for ; len(b) > 0; n++ {
		_, _, size := protowire.ConsumeField(b)
		if size < 0 {
			return n, protowire.ParseError(size)
		}
		b = b[size:]
	}
	return n, nil
}

// take adds what a frame holds to l, as far as its records are valid.
func (l *List) take(pb *linkpb.List, cell cid.Cid, now time.Time) error {
	if len(l.Members)+len(l.Gone)+l.Refused+len(pb.Members)+len(pb.Gone) > maxEntries {
		return fmt.Errorf("%w: List: more than %d entries", ErrFrame, maxEntries)
	}
	for _, m := range pb.Members {
		signed, err := record.Verify(m.Record, cell, now)
		if err != nil || signed.State == record.Leaving {
			l.Refused++
			continue
		}
		age := time.Duration(min(m.AgeMs, uint64(record.Validity.Milliseconds()))) * time.Millisecond
		l.Members = append(l.Members, Member{Record: signed, Age: age, Suspect: m.Suspect})
	}
	for _, g := range pb.Gone {
		gone, ok := takeGone(g, cell, now)
		if !ok {
			l.Refused++
			continue
		}
		l.Gone = append(l.Gone, gone)
	}
	return nil
}

func takeGone(g *linkpb.Gone, cell cid.Cid, now time.Time) (Gone, bool) {
	id, err := peer.IDFromBytes(g.Peer)
	if err != nil || len(g.Peer) > maxPeerID {
		return Gone{}, false
	}
	gone := Gone{Peer: id, Incarnation: g.Incarnation, Reason: g.Reason}
	switch g.Reason {
	case Dead, Expired, Revoked:
		return gone, true
	case Left:
	default:
		return Gone{}, false
	}
	gone.Leave, err = record.Verify(g.Leave, cell, now)
	ok := err == nil && gone.Leave.Peer == id && gone.Leave.State == record.Leaving && gone.Leave.Incarnation == g.Incarnation
	return gone, ok
}
