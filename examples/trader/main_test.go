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
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/cellnode/cellnode/examples/trader/exchangepb"
	"github.com/cellnode/cellnode/manifest"
)

// instance answers Quote with its name; one that hangs says so on asked and never answers.
type instance struct {
	pb.UnimplementedExchangeServer
	name  string
	hangs bool
	asked chan struct{}
}

func (i *instance) Quote(ctx context.Context, in *pb.QuoteRequest) (*pb.QuoteReply, error) {
	if i.hangs {
		close(i.asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &pb.QuoteReply{Symbol: in.GetSymbol(), Price: 1, Instance: i.name}, nil
}

func newTestInstance(t *testing.T, i *instance) (*bufconn.Listener, *grpc.Server) {
	t.Helper()
	ln, srv := bufconn.Listen(1<<16), grpc.NewServer()
	pb.RegisterExchangeServer(srv, i)
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	return ln, srv
}

func TestACallInFlightOnAKilledInstanceIsAnsweredByAnother(t *testing.T) {
	asked := make(chan struct{})
	first, server := newTestInstance(t, &instance{name: "first", hangs: true, asked: asked})
	second, _ := newTestInstance(t, &instance{name: "second"})
	var dials atomic.Int32
	cc, err := newConn(func(ctx context.Context) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return first.DialContext(ctx)
		}
		return second.DialContext(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	go func() {
		<-asked
		server.Stop() // closes its connections, as the kernel does for a killed process
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reply, err := pb.NewExchangeClient(cc).Quote(ctx, &pb.QuoteRequest{Symbol: "ACME"})
	if err != nil || reply.GetInstance() != "second" {
		t.Errorf("got %v, %v, want an answer of second", reply, err)
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
