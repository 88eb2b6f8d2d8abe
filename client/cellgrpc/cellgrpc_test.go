package cellgrpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// instance answers; one that hangs says so on asked and never does.
type instance struct {
	healthpb.UnimplementedHealthServer
	hangs bool
	asked chan struct{}
}

func (i *instance) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if i.hangs {
		close(i.asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func start(t *testing.T, i *instance) (*bufconn.Listener, *grpc.Server) {
	t.Helper()
	ln, server := bufconn.Listen(1<<16), grpc.NewServer()
	healthpb.RegisterHealthServer(server, i)
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	return ln, server
}

// repeatable is what a generated package says of calls that change nothing.
const repeatable = `{"methodConfig":[{"name":[{"service":"grpc.health.v1.Health","method":"Check"}],"waitForReady":true,"retryPolicy":{` +
	`"maxAttempts":4,"initialBackoff":"0.05s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

func TestACallInFlightOnAKilledInstanceIsAnsweredByAnother(t *testing.T) {
	asked := make(chan struct{})
	first, server := start(t, &instance{hangs: true, asked: asked})
	second, _ := start(t, &instance{})
	var dials atomic.Int32
	open := func(ctx context.Context, cell string) (net.Conn, error) {
		if cell != "exchange" {
			t.Errorf("asked for %q", cell)
		}
		if dials.Add(1) == 1 {
			return first.DialContext(ctx)
		}
		return second.DialContext(ctx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cc, err := dial(ctx, open, "cell:///exchange", []grpc.DialOption{grpc.WithDefaultServiceConfig(repeatable)})
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	go func() {
		<-asked
		server.Stop() // closes its connections, as the kernel does for a killed process
	}()
	reply, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || reply.GetStatus() != healthpb.HealthCheckResponse_SERVING || dials.Load() < 2 {
		t.Errorf("got %v, %v after %d dials, want an answer of the second instance", reply, err, dials.Load())
	}
}

func TestDialSaysWhyThereIsNoConnection(t *testing.T) {
	none := errors.New("no live instance")
	cc, err := dial(t.Context(), func(context.Context, string) (net.Conn, error) { return nil, none }, "exchange", nil)
	if !errors.Is(err, none) || cc != nil {
		t.Errorf("got %v, %v, want the reason", cc, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	hang := func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	if _, err := dial(ctx, hang, "exchange", nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection to cell exchange") {
		t.Errorf("got %v, want the end of the context", err)
	}
}
