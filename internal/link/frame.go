package link

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// Limits of a frame's payload in bytes.
const (
	maxFrame     = 4 << 10   // Hello and Welcome
	maxListFrame = 256 << 10 // List
)

// readFrame reads one frame and not a byte more, so that r may be handed on. A stream that ends before the first
// byte gives io.EOF; within a frame, io.ErrUnexpectedEOF. A length above limit gives ErrFrame before anything is
// allocated for it.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	n, err := readLength(r, limit)
	if err != nil || n == 0 {
		return nil, err
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, unexpected(err)
	}
	return frame, nil
}

// readLength reads a varint byte by byte: both transports hold what has arrived in memory of their own, so a read
// of one byte is no system call.
func readLength(r io.Reader, limit int) (int, error) {
	var n, shift uint
	for b := make([]byte, 1); ; shift += 7 {
		if _, err := io.ReadFull(r, b); err != nil {
			if shift > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
		n |= uint(b[0]&0x7f) << shift
		switch {
		case n > uint(limit) || shift > 14:
			return 0, fmt.Errorf("%w: longer than %d bytes", ErrFrame, limit)
		case b[0] == 0 && shift > 0:
			return 0, fmt.Errorf("%w: length is not in its shortest form", ErrFrame)
		case b[0] < 0x80:
			return int(n), nil
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeFrame writes one frame with a single Write.
func writeFrame(w io.Writer, m proto.Message, limit int) error {
	frame, err := appendFrame(nil, m, limit)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

func appendFrame(b []byte, m proto.Message, limit int) ([]byte, error) {
	n := proto.Size(m)
	if n > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, n, limit)
	}
	b = binary.AppendUvarint(b, uint64(n))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
}
