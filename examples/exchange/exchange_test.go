package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "cell-hub.acme.com/acme/exchange/exchangepb"
)

// newTestClient serves market in memory and returns a client of it.
func newTestClient(t *testing.T, market *Server) pb.ExchangeClient {
	t.Helper()
	ln := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	pb.RegisterExchangeServer(srv, market)
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	cc, err := grpc.NewClient("passthrough:///exchange",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return pb.NewExchangeClient(cc)
}

func TestQuoteNamesItsInstance(t *testing.T) {
	reply, err := newTestClient(t, New("seven")).Quote(t.Context(), &pb.QuoteRequest{Symbol: "ACME"})
	if err != nil {
		t.Fatal(err)
	}
	if reply.GetInstance() != "seven" || reply.GetSymbol() != "ACME" || reply.GetPrice() <= 0 {
		t.Errorf("got %v, want a price of ACME from seven", reply)
	}
}

func TestInstancesQuoteAlike(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if a, b := price("ACME", at), price("ACME", at); a != b {
		t.Errorf("price is %d, then %d at the same moment", a, b)
	}
	if a, b := price("ACME", at), price("ACME", at.Add(15*time.Second)); a == b {
		t.Errorf("price is %d and stays so for 15 s, want it to move", a)
	}
}

func TestSubmitCountsShares(t *testing.T) {
	client := newTestClient(t, New("seven"))
	var taken uint64
	for _, count := range []uint32{3, 4} {
		reply, err := client.Submit(t.Context(), &pb.SubmitRequest{Symbol: "ACME", Side: pb.Side_SIDE_BUY, Count: count})
		if err != nil {
			t.Fatal(err)
		}
		taken = reply.GetTaken()
	}
	if taken != 7 {
		t.Errorf("taken is %d after orders of 3 and 4, want 7", taken)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	client := newTestClient(t, New("seven"))
	for _, symbol := range []string{"", "acme", "TOOLONGNAME", "A B", "A\x00"} {
		if _, err := client.Quote(t.Context(), &pb.QuoteRequest{Symbol: symbol}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Quote(%q): %v, want InvalidArgument", symbol, err)
		}
	}
	for _, in := range []*pb.SubmitRequest{
		{Symbol: "ACME", Count: 1},
		{Symbol: "ACME", Side: pb.Side_SIDE_SELL},
		{Side: pb.Side_SIDE_SELL, Count: 1},
	} {
		if _, err := client.Submit(t.Context(), in); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Submit(%v): %v, want InvalidArgument", in, err)
		}
	}
}

func TestTicksStopAtTheCount(t *testing.T) {
	stream, err := newTestClient(t, New("seven")).Ticks(t.Context(), &pb.TicksRequest{Symbol: "ACME", Count: 3, IntervalMs: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for ; ; got++ {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got != 3 {
		t.Errorf("got %d ticks, want 3", got)
	}
}

func TestStopEndsTicks(t *testing.T) {
	market := New("seven")
	stream, err := newTestClient(t, market).Ticks(t.Context(), &pb.TicksRequest{Symbol: "ACME", IntervalMs: 60_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	market.Stop()
	market.Stop() // a second call is harmless
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("after Stop: %v, want Unavailable", err)
	}
}
