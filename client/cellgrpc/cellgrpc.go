// Package cellgrpc gives gRPC clients connections to cells.
//
//	cc, err := cellgrpc.NewClient("cell:///exchange")
//
// Such a connection is one to all instances: it holds a stream to each of the few that are nearest, sends each call to the
// one that answers soonest (see internal/choice), and follows what discovery pushes, so that a new instance takes calls
// within a second and one that drains takes none. A call that was not sent when its instance went is sent to another one;
// retries that a service config allows go to another one too. A method whose interface says idempotency_level =
// NO_SIDE_EFFECTS is asked of a second instance when the first takes longer than 95 in 100 calls did; at most one in
// twenty is. Packages that cellnode remote generates call Dial.
package cellgrpc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cellnode/cellnode/client"
)

// scheme may stand in front of a cell's name, for programs that hand gRPC targets about.
const scheme = "cell"

// maxPause is the longest time between two attempts to connect: discovery drops the dead, so waiting gains nothing.
const maxPause = 2 * time.Second

// connectTimeout is what one attempt is given. Calls do not wait for it while another connection stands, and one that is
// shorter fails on a busy machine.
const connectTimeout = 5 * time.Second

// NewClient returns a gRPC connection to a cell: "exchange", "host/path@tag", or either behind cell:///. Like
// grpc.NewClient it connects at the first call. The caller closes it. opts come behind, and so win over, those that make
// it a connection to a cell; a service config that names no load-balancing policy is used with Policy.
func NewClient(cell string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	c, err := client.Default()
	if err != nil {
		return nil, err
	}
	return NewClientOf(c, cell, opts...)
}

// NewClientOf is NewClient with a client of one's own, which is closed after the connection.
func NewClientOf(c *client.Client, cell string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	cc, _, err := newConn(clientCells{c}, cell, opts)
	return cc, err
}

// Dial is NewClient, and returns when the connection stands. As soon as everybody who is known has been asked in vain, or ctx
// ends, it returns why, such as a *client.NoneError.
func Dial(ctx context.Context, cell string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	c, err := client.Default()
	if err != nil {
		return nil, err
	}
	return dial(ctx, clientCells{c}, cell, opts)
}

func dial(ctx context.Context, from cells, cell string, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	cc, reach, err := newConn(from, cell, opts)
	if err != nil {
		return nil, err
	}
	cc.Connect()
	for {
		state := cc.GetState()
		if state == connectivity.Ready {
			return cc, nil
		}
		if err := reach.last(); err != nil && state == connectivity.TransientFailure {
			return nil, errors.Join(err, cc.Close())
		}
		if !cc.WaitForStateChange(ctx, state) {
			return nil, errors.Join(fmt.Errorf("cellgrpc: no connection to cell %s: %w", name(cell), ctx.Err()), reach.last(), cc.Close())
		}
	}
}

func name(cell string) string { return strings.TrimPrefix(cell, scheme+":///") }

func newConn(from cells, cell string, opts []grpc.DialOption) (*grpc.ClientConn, *reach, error) {
	cell = name(cell)
	reach := new(reach)
	calls := newCalls()
	all := append([]grpc.DialOption{
		grpc.WithResolvers(&builder{from, reach}),
		grpc.WithContextDialer(reach.dial),
		// What the client library returns is encrypted already, and its far end is known.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause},
			MinConnectTimeout: connectTimeout,
		}),
	}, opts...)
	config, err := serviceConfig(all)
	if err != nil {
		return nil, nil, fmt.Errorf("cellgrpc: cell %s: %w", cell, err)
	}
	// Behind the interceptors of the caller, who sees one call where two are made.
	all = append(all, config, grpc.WithChainUnaryInterceptor(calls.unary), grpc.WithChainStreamInterceptor(calls.stream))
	cc, err := grpc.NewClient((&url.URL{Scheme: scheme, Path: "/" + cell}).String(), all...)
	if err != nil {
		return nil, nil, fmt.Errorf("cellgrpc: cell %s: %w", cell, err)
	}
	return cc, reach, nil
}
