package overlay

import (
	"context"
	"net"

	"github.com/cellnode/cellnode/internal/link"
)

// Open hands a client's connection to the service.
func (h *handler) Open(ctx context.Context, hello link.Hello, c net.Conn) {
	i := h.instance(hello.Cell)
	if i == nil {
		c.Close()
		return
	}
	i.open.add(1)
	call{i, nil}.Serve(ctx, c)
}

// Prepare connects to the service, where it is outside of this process. It makes the handler a link.Preparer.
func (h *handler) Prepare(ctx context.Context, hello link.Hello) (link.Prepared, error) {
	i := h.instance(hello.Cell)
	if i == nil {
		return nil, notServed(hello.Cell)
	}
	i.open.add(1) // until Serve or Drop ends
	if i.service.Connect == nil {
		return call{i, nil}, nil
	}
	service, err := i.service.Connect(ctx)
	if err != nil {
		i.open.add(-1)
		return nil, err
	}
	return call{i, service}, nil
}

// A call is a client's that is about to be served.
type call struct {
	*Instance
	upstream net.Conn // nil: the service is in this process
}

// Serve implements link.Prepared.
func (c call) Serve(ctx context.Context, client net.Conn) {
	defer c.open.add(-1)
	if c.upstream == nil {
		c.service.Handle(ctx, client)
		return
	}
	c.service.Carry(ctx, client, c.upstream)
}

// Drop implements link.Prepared.
func (c call) Drop() {
	defer c.open.add(-1)
	if c.upstream != nil {
		c.upstream.Close()
	}
}
