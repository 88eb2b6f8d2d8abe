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

// freshAfter is how many checks one connection is used for. Keeping it saves most of a check's cost, here and in the
// service; a service that accepts nobody new is seen all the same.
const freshAfter = 10

// grpcCheck calls grpc.health.v1.Health/Check for a service name, which is empty for the process as a whole. Its
// connection is kept for a few checks, while they succeed.
type grpcCheck struct {
	dial    Dial
	service string

	conn *grpc.ClientConn
	used int
}

func (c *grpcCheck) Check(ctx context.Context) error {
	if c.used >= freshAfter {
		c.Close()
	}
	if err := c.connect(); err != nil {
		return err
	}
	c.used++
	err := c.ask(ctx)
	if err != nil {
		c.Close() // what comes next has another connection, and none of gRPC's pauses before it
	}
	return err
}

func (c *grpcCheck) connect() (err error) {
	if c.conn != nil {
		return nil
	}
	c.conn, err = grpc.NewClient("passthrough:///service",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithReadBufferSize(grpcBuffer), grpc.WithWriteBufferSize(grpcBuffer),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return fmt.Errorf("health: grpc: %w", err)
	}
	return nil
}

// Close gives the connection back. The next Check opens another.
func (c *grpcCheck) Close() error {
	c.used = 0
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

func (c *grpcCheck) ask(ctx context.Context) error {
	answer, err := pb.NewHealthClient(c.conn).Check(ctx, &pb.HealthCheckRequest{Service: c.service})
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
