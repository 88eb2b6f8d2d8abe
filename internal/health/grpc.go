package health

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// grpcBuffer is the size in bytes of a check's read and write buffers; a check is some hundred bytes each way.
const grpcBuffer = 4 << 10

// grpcCheck calls grpc.health.v1.Health/Check for a service name, which is empty for the process as a whole.
type grpcCheck struct {
	dial    Dial
	service string
}

func (c grpcCheck) Check(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:///service",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithReadBufferSize(grpcBuffer), grpc.WithWriteBufferSize(grpcBuffer),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return fmt.Errorf("health: grpc: %w", err)
	}
	defer conn.Close()
	answer, err := pb.NewHealthClient(conn).Check(ctx, &pb.HealthCheckRequest{Service: c.service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
		// The service does not tell of its health, or not to us. That it said so over HTTP/2 proves what an HTTP/2 PING
		// would, and that calls are dispatched.
		return nil
	case codes.NotFound:
		return fmt.Errorf("health: grpc: the service's health server knows no %q", c.service)
	default:
		return fmt.Errorf("health: grpc: %s", status.Convert(err).Message())
	}
	if answer.GetStatus() != pb.HealthCheckResponse_SERVING {
		return fmt.Errorf("health: grpc: the service says %v", answer.GetStatus())
	}
	return nil
}
