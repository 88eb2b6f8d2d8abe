package link

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/link/linkpb"
	"github.com/cellnode/cellnode/internal/record"
)

// Limits of the fields in bytes.
const (
	maxCell   = 64
	maxHash   = 32 // a commit or a fingerprint
	maxETag   = 64
	maxDetail = 256
)

var discardUnknown = proto.UnmarshalOptions{DiscardUnknown: true}

func (h *Hello) proto() (*linkpb.Hello, error) {
	commit, err := unhex("commit", h.Commit)
	if err != nil {
		return nil, err
	}
	fingerprint, err := unhex("fingerprint", h.Fingerprint)
	if err != nil {
		return nil, err
	}
	if !h.Cell.Defined() {
		return nil, fmt.Errorf("link: Hello names no cell")
	}
	return &linkpb.Hello{
		Op: linkpb.Op(h.Op), Cell: h.Cell.Bytes(), Commit: commit, Fingerprint: fingerprint, Etag: h.ETag, Trust: h.Trust,
	}, nil
}

func parseHello(frame []byte) (Hello, error) {
	var pb linkpb.Hello
	if err := discardUnknown.Unmarshal(frame, &pb); err != nil {
		return Hello{}, fmt.Errorf("%w: Hello: %v", ErrFrame, err)
	}
	op := Op(pb.Op)
	switch {
	case pb.Op < 0 || pb.Op > 255 || op.String() == "unknown":
		return Hello{}, fmt.Errorf("%w: Hello: operation %d is not known", ErrFrame, pb.Op)
	case len(pb.Cell) > maxCell || len(pb.Commit) > maxHash || len(pb.Fingerprint) > maxHash || len(pb.Etag) > maxETag:
		return Hello{}, fmt.Errorf("%w: Hello: a field is too long", ErrFrame)
	}
	cell, err := cid.Cast(pb.Cell)
	if err != nil {
		return Hello{}, fmt.Errorf("%w: Hello: cell: %v", ErrFrame, err)
	}
	return Hello{
		Op: op, Cell: cell, ETag: pb.Etag, Trust: pb.Trust,
		Commit: hex.EncodeToString(pb.Commit), Fingerprint: hex.EncodeToString(pb.Fingerprint),
	}, nil
}

func (w *Welcome) proto() (*linkpb.Welcome, error) {
	commit, err := unhex("commit", w.Commit)
	if err != nil {
		return nil, err
	}
	fingerprint, err := unhex("fingerprint", w.Fingerprint)
	if err != nil {
		return nil, err
	}
	if len(w.Record) > record.MaxSize {
		return nil, fmt.Errorf("link: record of %d bytes, at most %d", len(w.Record), record.MaxSize)
	}
	return &linkpb.Welcome{
		Code: linkpb.Code(w.Code), Detail: oneLine(w.Detail), Commit: commit, Fingerprint: fingerprint,
		State: uint32(w.State), Incarnation: w.Incarnation, Load: w.Load, Record: w.Record,
	}, nil
}

func parseWelcome(frame []byte) (Welcome, error) {
	var pb linkpb.Welcome
	if err := discardUnknown.Unmarshal(frame, &pb); err != nil {
		return Welcome{}, fmt.Errorf("%w: Welcome: %v", ErrFrame, err)
	}
	if pb.Code < 0 || pb.Code > 255 || pb.State > 255 || len(pb.Commit) > maxHash || len(pb.Fingerprint) > maxHash {
		return Welcome{}, fmt.Errorf("%w: Welcome: a field is out of range", ErrFrame)
	}
	return Welcome{
		Code: Code(pb.Code), Detail: oneLine(pb.Detail),
		Commit: hex.EncodeToString(pb.Commit), Fingerprint: hex.EncodeToString(pb.Fingerprint),
		State: record.State(pb.State), Incarnation: pb.Incarnation, Load: pb.Load, Record: pb.Record,
	}, nil
}

func unhex(name, s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) > maxHash {
		return nil, fmt.Errorf("link: %s %q is not a hash in hex", name, s)
	}
	return b, nil
}

// oneLine makes another's words fit to be shown: printable, valid UTF-8, one line, at most maxDetail bytes.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxDetail)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
