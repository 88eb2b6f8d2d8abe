package embed_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/overlay"
)

// A service that carries its node is asked for its health and its interface as any gRPC server is.
func TestHealthAndReflectionOfAnEmbeddedService(t *testing.T) {
	first := node(t)
	l, err := node(t, first).Listen(t.Context(), overlay.Service{Cell: exchange})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served // Stop's own error, if any
	})
	c := newClient(t, client.Config{Home: homeWith(t, entry(first)), Only: []string{find.DHT}})
	cc, err := grpc.NewClient("passthrough:///exchange", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) { return c.Dial(ctx, name) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	r, err := grpc_health_v1.NewHealthClient(cc).Check(within(t), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", r, err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || !strings.Contains(r.String(), "grpc.health.v1.Health") {
		t.Errorf("%v, %v", r, err)
	}
}
