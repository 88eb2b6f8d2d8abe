package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cellnode/cellnode/client"
	pb "github.com/cellnode/cellnode/examples/trader/exchange"
)

const (
	callers     = 4
	callTimeout = 5 * time.Second
)

// A call that was in flight on an instance that died is made again on another one. Quote changes nothing, so it may.
const serviceConfig = `{"methodConfig": [{
	"name": [{"service": "acme.exchange.v1.Exchange", "method": "Quote"}], "waitForReady": true,
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.02s", "maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
}]}`

// load calls the cell by its name until end, from several goroutines over one gRPC connection each.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	calls    int
	failed   []error
	slowest  time.Duration
	answered map[string]int // instance → calls
}

func startLoad(c *client.Client, cell string) (*load, error) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, answered: map[string]int{}}
	for range callers {
		cc, err := dialGRPC(func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, cell) })
		if err != nil {
			l.end()
			return nil, err
		}
		l.wg.Go(func() {
			defer cc.Close()
			for ctx.Err() == nil {
				l.call(ctx, pb.NewExchangeClient(cc))
			}
		})
	}
	return l, nil
}

func dialGRPC(dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///exchange",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the connection is encrypted and authenticated below
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second}}),
	)
}

func (l *load) call(ctx context.Context, exchange pb.ExchangeClient) {
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	start := time.Now()
	reply, err := exchange.Quote(callCtx, &pb.QuoteRequest{Symbol: "ACME"})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		return // the load has ended
	}
	l.calls++
	l.slowest = max(l.slowest, time.Since(start))
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.answered[reply.GetInstance()]++
}

// end stops calling and returns when the last call has ended. It may be called more than once.
func (l *load) end() {
	l.cancel()
	l.wg.Wait()
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// report returns the first failed call, if there is one.
func (l *load) report() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf("%d calls, %d failed, %d instances answered, slowest %s", l.calls, len(l.failed), len(l.answered), l.slowest.Round(time.Millisecond))
	if len(l.failed) > 0 {
		return text, fmt.Errorf("%d of %d calls failed, the first one with: %w", len(l.failed), l.calls, l.failed[0])
	}
	return text, nil
}
