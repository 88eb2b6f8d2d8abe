// Package cellgrpc gives gRPC clients connections to cells.
//
//	cc, err := cellgrpc.Dial(ctx, "exchange")
//
// The connection ends at the nearest live instance; when that one goes, gRPC connects again and lands on another. Packages
// that cellnode remote generates call it.
package cellgrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cellnode/cellnode/client"
)

// scheme may stand in front of a cell's name, for programs that hand gRPC targets about.
const scheme = "cell:///"

// maxPause is the longest time between two attempts to connect: discovery drops the dead, so waiting gains nothing.
const maxPause = 2 * time.Second

// NewClient returns a gRPC connection to a cell: "exchange", "host/path@tag", or either behind cell:///. Like
// grpc.NewClient it connects at the first call. The caller closes it. opts come behind, and so win over, those that make
// it a connection to a cell.
func NewClient(cell string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	c, err := client.Default()
	if err != nil {
		return nil, err
	}
	cc, _, err := newConn(c.Dial, cell, opts)
	return cc, err
}

// Dial is NewClient, and returns when the connection stands. Where that cannot be had before ctx ends it returns why, such
// as a *client.NoneError.
func Dial(ctx context.Context, cell string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	c, err := client.Default()
	if err != nil {
		return nil, err
	}
	return dial(ctx, c.Dial, cell, opts)
}

type dialFunc func(ctx context.Context, cell string) (net.Conn, error)

func dial(ctx context.Context, open dialFunc, cell string, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	cc, last, err := newConn(open, cell, opts)
	if err != nil {
		return nil, err
	}
	cc.Connect()
	for {
		state := cc.GetState()
		if state == connectivity.Ready {
			return cc, nil
		}
		if err := last.get(); err != nil && state == connectivity.TransientFailure {
			return nil, errors.Join(err, cc.Close())
		}
		if !cc.WaitForStateChange(ctx, state) {
			return nil, errors.Join(fmt.Errorf("cellgrpc: no connection to cell %s: %w", cell, ctx.Err()), last.get(), cc.Close())
		}
	}
}

func newConn(open dialFunc, cell string, opts []grpc.DialOption) (*grpc.ClientConn, *lastError, error) {
	cell = strings.TrimPrefix(cell, scheme)
	last := new(lastError)
	base := []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := open(ctx, cell)
			last.set(err)
			return conn, err
		}),
		// What the client library returns is encrypted already, and its far end is known.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause,
		}}),
	}
	cc, err := grpc.NewClient("passthrough:///"+cell, append(base, opts...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("cellgrpc: cell %s: %w", cell, err)
	}
	return cc, last, nil
}

// lastError is how the newest attempt to connect ended.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
