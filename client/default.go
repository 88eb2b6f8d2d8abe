package client

import (
	"context"
	"net"
	"sync"
)

// shared and sharedOpen return the clients of the process.
var shared, sharedOpen = once(Config{}), once(Config{AllowOpen: true})

// once returns a function that makes a client at its first call and returns the same one from then on.
func once(cfg Config) func() (*Client, error) {
	return sync.OnceValues(func() (*Client, error) { return New(cfg) })
}

// Default returns the client that the functions of this package share. It is made at the first call, with the zero
// Config, and lives as long as the process.
func Default() (*Client, error) { return shared() }

// An Option changes one call.
type Option func(*options)

type options struct{ allowOpen, h2c bool }

// AllowOpen takes the cell even if it names no publishers, which means that anybody can answer as an instance of it.
func AllowOpen() Option { return func(o *options) { o.allowOpen = true } }

// H2C makes a Transport speak HTTP/2 from the first byte, to services that do.
func H2C() Option { return func(o *options) { o.h2c = true } }

// Dial opens a connection to a live instance of a cell, with the Default client. See Client.Dial.
func Dial(ctx context.Context, cell string, opts ...Option) (net.Conn, error) {
	c, err := defaultClient(opts)
	if err != nil {
		return nil, err
	}
	return c.Dial(ctx, cell)
}

// defaultClient returns the client that the process shares, for cells that are taken with these options.
func defaultClient(opts []Option) (*Client, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.allowOpen {
		return sharedOpen()
	}
	return shared()
}
