package gossip

import "errors"

var (
	// ErrClosed is returned by whatever is called after Close or Leave.
	ErrClosed = errors.New("gossip: closed")
	// ErrSlow ends a Watch whose function did not keep up; call Watch again for a fresh start.
	ErrSlow = errors.New("gossip: watcher fell too far behind; watch again")
	// ErrNotFlushed is returned by Leave when no neighbour confirmed the goodbye in time. The others will notice
	// the silence instead.
	ErrNotFlushed = errors.New("gossip: no neighbour confirmed the leave; the others will notice the silence")

	errFrame = errors.New("gossip: malformed frame")
)
