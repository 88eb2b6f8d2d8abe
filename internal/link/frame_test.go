package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cellnode/cellnode/internal/link/linkpb"
)

func TestFrameIsReadExactly(t *testing.T) {
	long := strings.Repeat("x", maxFrame)
	for _, tt := range []struct {
		name, in, frame, rest string
		err                   error
	}{
		{"one", "\x02abrest", "ab", "rest", nil},
		{"empty frame", "\x00rest", "", "rest", nil},
		{"largest", "\x80\x20" + long + "rest", long, "rest", nil},
		{"one above", "\x81\x20" + long, "", long, ErrFrame},
		{"far above", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "", "\xff\xff\xff\xff\xff\xff\xff\x01", ErrFrame},
		{"endless zeros", "\x80\x80\x80\x80\x80", "", "\x80", ErrFrame},
		{"not shortest", "\x82\x00ab", "", "ab", ErrFrame},
		{"no frame", "", "", "", io.EOF},
		{"cut in the length", "\x80", "", "", io.ErrUnexpectedEOF},
		{"cut behind the length", "\x02", "", "", io.ErrUnexpectedEOF},
		{"cut in the payload", "\x02a", "", "", io.ErrUnexpectedEOF},
		{"a web browser", "GET / HTTP/1.1\r\n\r\n", "", "", io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := strings.NewReader(tt.in)
			frame, err := readFrame(iotest.OneByteReader(r), maxFrame)
			rest, _ := io.ReadAll(r)
			if string(frame) != tt.frame || !errors.Is(err, tt.err) || string(rest) != tt.rest {
				t.Errorf("got %q, %v, rest %q", frame, err, rest)
			}
		})
	}
}

func TestTooLargeFrameIsNotSent(t *testing.T) {
	err := writeFrame(io.Discard, &linkpb.Hello{Etag: make([]byte, maxFrame)}, maxFrame)
	if !errors.Is(err, ErrFrame) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	pb, err := (&Hello{Op: Probing, Cell: testCell, ETag: []byte("e")}).proto()
	if err != nil {
		t.Fatal(err)
	}
	frame, err := proto.Marshal(pb)
	if err != nil {
		t.Fatal(err)
	}
	frame = protowire.AppendTag(frame, 99, protowire.BytesType)
	frame = protowire.AppendBytes(frame, []byte("from the future"))
	h, err := parseHello(frame)
	if err != nil || h.Op != Probing || h.Cell != testCell || string(h.ETag) != "e" {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestBadHelloIsRefused(t *testing.T) {
	cell := testCell.Bytes()
	for name, pb := range map[string]*linkpb.Hello{
		"no operation":      {Cell: cell},
		"unknown operation": {Op: 77, Cell: cell},
		"negative":          {Op: -1, Cell: cell},
		"wraps around":      {Op: 256 + 1, Cell: cell},
		"no cell":           {Op: linkpb.Op_OP_OPEN},
		"cell is no CID":    {Op: linkpb.Op_OP_OPEN, Cell: []byte("exchange")},
		"long commit":       {Op: linkpb.Op_OP_OPEN, Cell: cell, Commit: make([]byte, 33)},
		"long fingerprint":  {Op: linkpb.Op_OP_OPEN, Cell: cell, Fingerprint: make([]byte, 33)},
		"long etag":         {Op: linkpb.Op_OP_LIST, Cell: cell, Etag: make([]byte, 65)},
	} {
		frame, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseHello(frame); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWelcomeShowsNoControlCharacters(t *testing.T) {
	frame, err := proto.Marshal(&linkpb.Welcome{Code: linkpb.Code_CODE_BUSY, Detail: "a\x1b[31m\nb" + strings.Repeat("é", 300)})
	if err != nil {
		t.Fatal(err)
	}
	w, err := parseWelcome(frame)
	if err != nil || strings.ContainsAny(w.Detail, "\x1b\n") || !strings.HasPrefix(w.Detail, "a [31m b") || len(w.Detail) > maxDetail {
		t.Errorf("got %q, %v", w.Detail, err)
	}
}

func TestFrameOfEmptyEntriesIsRefusedBeforeItIsParsed(t *testing.T) {
	frame := bytes.Repeat([]byte{5<<3 | 2, 0}, maxListFrame/2) // members, each empty
	if n := testing.AllocsPerRun(1, func() {
		if _, err := parseList(frame); !errors.Is(err, ErrFrame) {
			t.Errorf("got %v", err)
		}
	}); n > 50 {
		t.Errorf("%.0f allocations for a frame that is refused", n)
	}
}

// greedy counts what it is asked for, as a stand-in for what the reader allocates.
type greedy struct {
	r       io.Reader
	largest int
}

func (g *greedy) Read(b []byte) (int, error) {
	g.largest = max(g.largest, len(b))
	return g.r.Read(b[:min(len(b), 7)])
}

// FuzzReadFrame holds the reader to its promises: no buffer above the limit, no byte read beyond the frame, and
// what it takes is what the writer writes.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x02abrest"))
	f.Add([]byte("\x80\x20"))
	f.Add([]byte("\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src := bytes.NewReader(data)
		r := &greedy{r: src}
		frame, err := readFrame(r, maxFrame)
		if r.largest > maxFrame {
			t.Fatalf("asked for %d bytes at once", r.largest)
		}
		if err != nil {
			return
		}
		read := data[:len(data)-src.Len()]
		want := append(binary.AppendUvarint(nil, uint64(len(frame))), frame...)
		if !bytes.Equal(read, want) {
			t.Fatalf("read %x for a frame that is written as %x", read, want)
		}
	})
}

// FuzzMessages holds the decoders to not panicking, and to giving out only what can be sent again.
func FuzzMessages(f *testing.F) {
	hello, _ := proto.Marshal(&linkpb.Hello{Op: linkpb.Op_OP_LIST, Cell: testCell.Bytes(), Etag: []byte("e")})
	welcome, _ := proto.Marshal(&linkpb.Welcome{Code: linkpb.Code_CODE_OK, Detail: "fine", State: 1, Record: []byte("r")})
	list, _ := proto.Marshal(&linkpb.List{Full: true, Members: []*linkpb.Member{{Record: []byte("r")}}, Gone: []*linkpb.Gone{{Peer: []byte("p"), Reason: Dead}}})
	f.Add(hello)
	f.Add(welcome)
	f.Add(list)
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), maxFrame)]
		if h, err := parseHello(data); err == nil {
			if _, err := h.proto(); err != nil {
				t.Fatalf("Hello %+v: %v", h, err)
			}
		}
		if w, err := parseWelcome(data); err == nil && len(w.Record) <= 2048 {
			if _, err := w.proto(); err != nil {
				t.Fatalf("Welcome %+v: %v", w, err)
			}
		}
		if pb, err := parseList(data); err == nil {
			var l List
			l.take(pb, testCell, testNow)
			for _, fr := range l.frames() {
				if _, err := appendFrame(nil, fr, maxListFrame); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
