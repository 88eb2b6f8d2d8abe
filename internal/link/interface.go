package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cellnode/cellnode/internal/link/linkpb"
	"github.com/cellnode/cellnode/manifest"
)

// interfaceTimeout ends the transfer of one interface.
const interfaceTimeout = 10 * time.Second

// ErrNoInterface says that an instance does not state its interface: it is not made of protobuf, or its node is older
// than the question.
var ErrNoInterface = errors.New("link: the instance does not hand over its interface")

// Interface asks the target's instance for its interface, serialised as manifest.InterfaceSet; it is not looked at here.
// h.Fingerprint is the one that the instance is known to have. The connection is kept, as by Probe.
func (d *Dialer) Interface(ctx context.Context, t Target, h Hello) ([]byte, error) {
	ctx, end, err := d.call(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	h.Op = Asking
	c, _, err := d.reach(ctx, t, h)
	var refused *Refused
	if errors.As(err, &refused) && refused.Code == CodeBad {
		return nil, fmt.Errorf("%w (%s)", ErrNoInterface, refused.Detail)
	}
	if err != nil {
		return nil, err
	}
	lift := c.bound(ctx, interfaceTimeout)
	data, err := readParts(c)
	if ctxErr := lift(); ctxErr != nil {
		err = ctxErr
	}
	if err != nil {
		c.Reset()
		return nil, fmt.Errorf("link: interface of %s: %w", t.Peer, err)
	}
	d.keep(c)
	if len(data) == 0 {
		return nil, ErrNoInterface
	}
	return data, nil
}

// readParts reads an interface in all its frames.
func readParts(r io.Reader) ([]byte, error) {
	var data []byte
	for {
		frame, err := readFrame(r, maxListFrame)
		if err != nil {
			return nil, unexpected(err)
		}
		var pb linkpb.Part
		if err := discardUnknown.Unmarshal(frame, &pb); err != nil {
			return nil, fmt.Errorf("%w: Part: %v", ErrFrame, err)
		}
		switch {
		case len(data)+len(pb.Data) > manifest.MaxInterfaceSet:
			return nil, fmt.Errorf("%w: interface of more than %d bytes", ErrFrame, manifest.MaxInterfaceSet)
		case pb.More && len(pb.Data) == 0:
			return nil, fmt.Errorf("%w: Part: an empty one that is not the last", ErrFrame)
		}
		data = append(data, pb.Data...)
		if !pb.More {
			return data, nil
		}
	}
}

// tell sends the interface.
func (s *Server) tell(h Hello, c *Conn) error {
	data := s.cfg.Handler.Interface(h.Cell)
	for more := true; more; {
		n := min(len(data), maxListFrame-16)
		part := &linkpb.Part{Data: data[:n]}
		data = data[n:]
		more = len(data) > 0
		part.More = more
		c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := writeFrame(c, part, maxListFrame); err != nil {
			s.cfg.Log.Debug("interface not sent", "peer", c.peer, "err", err)
			c.Reset()
			return err
		}
	}
	return c.SetWriteDeadline(time.Time{})
}
