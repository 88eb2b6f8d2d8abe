// Command trader asks the cell "exchange" for prices. It names the cell and never an instance:
// which one answers, and what happens when that one dies, is left to the client package.
//
// Package exchange is generated from the cell's interface by cellnode remote. It knows where the cell's instances were
// last seen, so the program runs anywhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/cellnode/cellnode/examples/trader/exchange"
)

//go:generate cellnode remote ExchangeClient=exchange

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
	cc, err := dial(ctx, timeout)
	if err != nil {
		return err
	}
	defer cc.Close()
	return quotes(ctx, exchange.NewExchangeClient(cc), symbol, count, pause, timeout)
}

// dial connects to the nearest instance. When that one ends, cc connects to another by itself.
func dial(ctx context.Context, timeout time.Duration) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return exchange.Dial(ctx)
}

func quotes(ctx context.Context, c exchange.ExchangeClient, symbol string, count int, pause, timeout time.Duration) error {
	for made := 1; ; made++ {
		if err := quote(ctx, c, symbol, timeout); err != nil {
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

func quote(ctx context.Context, c exchange.ExchangeClient, symbol string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	reply, err := c.Quote(ctx, &exchange.QuoteRequest{Symbol: symbol})
	if err != nil {
		return fmt.Errorf("trader: quote of %s: %w", symbol, err)
	}
	fmt.Printf("%s %.4f from %s in %s\n", reply.GetSymbol(), float64(reply.GetPrice())/10_000,
		reply.GetInstance(), time.Since(start).Round(10*time.Microsecond))
	return nil
}
