// Package exchange is the service itself: it quotes prices, takes orders and streams ticks.
// It knows nothing of cells; cmd/exchange puts it on a socket.
package exchange

import (
	"context"
	"hash/fnv"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "cell-hub.acme.com/acme/exchange/exchangepb"
)

// Server answers the calls of one instance. It is safe for concurrent use.
type Server struct {
	pb.UnimplementedExchangeServer
	instance string
	stop     chan struct{}
	stopOnce sync.Once

	mu    sync.Mutex
	taken uint64
}

// New returns a Server that calls itself instance in every reply.
func New(instance string) *Server {
	return &Server{instance: instance, stop: make(chan struct{})}
}

// Stop ends the running Ticks streams, which would otherwise keep a graceful stop waiting.
// Their callers see Unavailable and may ask another instance.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

// Quote returns the price of one symbol now.
func (s *Server) Quote(_ context.Context, in *pb.QuoteRequest) (*pb.QuoteReply, error) {
	if err := checkSymbol(in.GetSymbol()); err != nil {
		return nil, err
	}
	return &pb.QuoteReply{
		Symbol:   in.GetSymbol(),
		Price:    price(in.GetSymbol(), time.Now()),
		Instance: s.instance,
	}, nil
}

// Submit takes an order and counts its shares.
func (s *Server) Submit(_ context.Context, in *pb.SubmitRequest) (*pb.SubmitReply, error) {
	if err := checkSymbol(in.GetSymbol()); err != nil {
		return nil, err
	}
	if in.GetSide() != pb.Side_SIDE_BUY && in.GetSide() != pb.Side_SIDE_SELL {
		return nil, status.Errorf(codes.InvalidArgument, "exchange: side is %v, want SIDE_BUY or SIDE_SELL", in.GetSide())
	}
	if in.GetCount() == 0 {
		return nil, status.Error(codes.InvalidArgument, "exchange: count is 0, want at least 1")
	}
	s.mu.Lock()
	s.taken += uint64(in.GetCount())
	taken := s.taken
	s.mu.Unlock()
	return &pb.SubmitReply{Price: price(in.GetSymbol(), time.Now()), Taken: taken, Instance: s.instance}, nil
}

// Ticks sends prices until the count is reached, the caller hangs up or Stop is called.
func (s *Server) Ticks(in *pb.TicksRequest, out grpc.ServerStreamingServer[pb.Tick]) error {
	if err := checkSymbol(in.GetSymbol()); err != nil {
		return err
	}
	if in.GetIntervalMs() > 60_000 {
		return status.Errorf(codes.InvalidArgument, "exchange: interval_ms is %d, want at most 60000", in.GetIntervalMs())
	}
	pause := time.Duration(in.GetIntervalMs()) * time.Millisecond
	if pause == 0 {
		pause = time.Second
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for sent := uint32(0); ; {
		now := time.Now()
		tick := &pb.Tick{Symbol: in.GetSymbol(), Price: price(in.GetSymbol(), now), TimeMs: now.UnixMilli(), Instance: s.instance}
		if err := out.Send(tick); err != nil {
			return err
		}
		if sent++; sent == in.GetCount() {
			return nil
		}
		select {
		case <-ticker.C:
		case <-out.Context().Done():
			return out.Context().Err()
		case <-s.stop:
			return status.Error(codes.Unavailable, "exchange: this instance is stopping, ask another")
		}
	}
}

func checkSymbol(symbol string) error {
	ok := len(symbol) >= 1 && len(symbol) <= 8
	for _, c := range []byte(symbol) {
		ok = ok && 'A' <= c && c <= 'Z'
	}
	if !ok {
		return status.Errorf(codes.InvalidArgument, "exchange: symbol %q is not 1 to 8 letters A to Z", symbol)
	}
	return nil
}

// price is a made-up market: between 50 and 250 by the symbol's hash, swinging 5 % about that
// once a minute. Instances whose clocks agree quote alike.
func price(symbol string, at time.Time) int64 {
	h := fnv.New32a()
	h.Write([]byte(symbol))
	base := 50 + float64(h.Sum32()%200)
	phase := 2 * math.Pi * float64(at.UnixMilli()%60_000) / 60_000
	return int64(math.Round(base * (1 + 0.05*math.Sin(phase)) * 10_000))
}
