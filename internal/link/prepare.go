package link

import (
	"context"
	"net"
	"time"
)

// PrepareTime is the time that a Preparer has: a little less than clients wait for a Welcome.
const PrepareTime = 1500 * time.Millisecond

// A Preparer is a Handler that must have something before it can take a call, such as a connection to the service. A client
// whose call cannot be taken is so told by a Welcome, and goes elsewhere.
type Preparer interface {
	// Prepare is called before the Welcome to Opening, and should answer within PrepareTime, when ctx ends. An error
	// refuses the call with CodeUpstream.
	Prepare(ctx context.Context, h Hello) (Prepared, error)
}

// Prepared is what serves one stream in place of Handler.Open.
type Prepared interface {
	// Serve is Handler.Open.
	Serve(ctx context.Context, c net.Conn)
	// Drop gives up what was prepared: the client has gone before it was served.
	Drop()
}

// prepare has the handler prepare for a call that it has welcomed.
func (s *Server) prepare(h Hello, c *Conn, w Welcome) Welcome {
	p, ok := s.cfg.Handler.(Preparer)
	if !ok || w.Code != CodeOK {
		return w
	}
	ctx, cancel := context.WithTimeout(s.ctx, PrepareTime)
	defer cancel()
	prepared, err := p.Prepare(ctx, h)
	if err != nil {
		w.Code, w.Detail = CodeUpstream, err.Error()
		return w
	}
	c.prepared = prepared
	return w
}

// open serves an open stream to its end.
func (s *Server) open(h Hello, c *Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if p := c.prepared; p != nil {
		c.prepared = nil
		p.Serve(ctx, c)
	} else {
		s.cfg.Handler.Open(ctx, h, c)
	}
	c.Close()
}

// dropPrepared gives up what was prepared and not served.
func (c *Conn) dropPrepared() {
	if c.prepared != nil {
		c.prepared.Drop()
		c.prepared = nil
	}
}
