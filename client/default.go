package client

import (
	"context"
	"net"
	"sync"
)

var shared struct {
	once   sync.Once
	client *Client
	err    error
}

// Default returns the client that the functions of this package share. It is made at the first call, with the zero
// Config, and lives as long as the process.
func Default() (*Client, error) {
	shared.once.Do(func() { shared.client, shared.err = New(Config{}) })
	return shared.client, shared.err
}

// An Option changes one call.
type Option func(*options)

type options struct{ allowOpen, h2c bool }

// AllowOpen takes the cell even if it names no publishers, which means that anybody can answer as an instance of it.
func AllowOpen() Option { return func(o *options) { o.allowOpen = true } }

// H2C makes a Transport speak HTTP/2 from the first byte, to services that do.
func H2C() Option { return func(o *options) { o.h2c = true } }

var sharedOpen struct {
	once   sync.Once
	client *Client
	err    error
}

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
	if !o.allowOpen {
		return Default()
	}
	sharedOpen.once.Do(func() { sharedOpen.client, sharedOpen.err = New(Config{AllowOpen: true}) })
	return sharedOpen.client, sharedOpen.err
}
