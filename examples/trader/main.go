// Command trader asks the cell "exchange" for prices. It names the cell and never an instance:
// which one answers, and what happens when that one dies, is left to the client package.
//
// Run it in this folder, where its Cell.toml is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cellnode/cellnode/client"
	pb "github.com/cellnode/cellnode/examples/trader/exchangepb"
)

// retryQuotes lets gRPC repeat a Quote on another instance when the one asked is gone. Submit is
// not in the list: an order must not be placed twice.
const retryQuotes = `{"methodConfig": [{
	"name": [{"service": "acme.exchange.v1.Exchange", "method": "Quote"}],
	"waitForReady": true,
	"retryPolicy": {
		"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]
	}
}]}`

func main() {
	symbol := flag.String("symbol", "ACME", "what to ask the price of: 1 to 8 letters A to Z")
	count := flag.Int("n", 1, "how many `calls` to make; 0 goes on until interrupted")
	pause := flag.Duration("pause", time.Second, "wait between two calls")
	timeout := flag.Duration("timeout", 5*time.Second, "limit of one call, finding an instance included")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := trade(ctx, *symbol, *count, *pause, *timeout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// trade makes the calls and prints one line for each. The first failed call ends it.
func trade(ctx context.Context, symbol string, count int, pause, timeout time.Duration) error {
	cc, err := newConn(func(ctx context.Context) (net.Conn, error) { return client.Dial(ctx, "exchange") })
	if err != nil {
		return err
	}
	defer cc.Close()
	exchange := pb.NewExchangeClient(cc)
	for made := 1; ; made++ {
		if err := quote(ctx, exchange, symbol, timeout); err != nil {
			return err
		}
		if made == count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// newConn returns a gRPC connection to whatever instance dial finds. It dials at the first call,
// and again, perhaps elsewhere, when a connection ends.
func newConn(dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///exchange",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		// What client.Dial returns is encrypted already, and its far end is known.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
		}}),
		grpc.WithDefaultServiceConfig(retryQuotes))
}

func quote(ctx context.Context, exchange pb.ExchangeClient, symbol string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	reply, err := exchange.Quote(ctx, &pb.QuoteRequest{Symbol: symbol})
	if err != nil {
		return fmt.Errorf("trader: quote of %s: %w", symbol, err)
	}
	fmt.Printf("%s %.4f from %s in %s\n", reply.GetSymbol(), float64(reply.GetPrice())/10_000,
		reply.GetInstance(), time.Since(start).Round(10*time.Microsecond))
	return nil
}
