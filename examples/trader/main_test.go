package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cellnode/cellnode/examples/trader/exchange"
	"github.com/cellnode/cellnode/manifest"
)

// instance answers Quote with its name.
type instance struct {
	exchange.UnimplementedExchangeServer
	asked atomic.Int32
}

func (i *instance) Quote(_ context.Context, in *exchange.QuoteRequest) (*exchange.QuoteReply, error) {
	i.asked.Add(1)
	return &exchange.QuoteReply{Symbol: in.GetSymbol(), Price: 1, Instance: "one"}, nil
}

func TestTheTraderAsksAsOftenAsItIsTold(t *testing.T) {
	ln, server, one := bufconn.Listen(1<<16), grpc.NewServer(), new(instance)
	exchange.RegisterExchangeServer(server, one)
	go server.Serve(ln)
	defer server.Stop()
	cc, err := grpc.NewClient("passthrough:///exchange", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if err := quotes(t.Context(), exchange.NewExchangeClient(cc), "ACME", 3, time.Millisecond, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if n := one.asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

func TestTheTraderNamesTheCellThatTheExchangePublishes(t *testing.T) {
	read := func(path string) *manifest.File {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := manifest.ParseFile(path, data)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	wanted := read("Cell.toml").Cells["exchange"]
	dir := filepath.Join("..", "exchange")
	published := read(filepath.Join(dir, "Cell.toml"))
	if cell, err := manifest.NewCell(published.Package.Repository, wanted.Tag); err != nil || cell != wanted.Cell {
		t.Errorf("the exchange publishes %v (%v), the trader wants %v", cell, err, wanted.Cell)
	}
	for _, name := range published.Package.Interface {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("interface: %v", err)
		}
	}
	if published.Trust == nil && !wanted.Policy.AllowOpen {
		t.Error("the exchange is open and the trader does not allow that")
	}
}
