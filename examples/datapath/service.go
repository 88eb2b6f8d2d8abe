package main

import (
	"context"
	"io"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// The stream's size, and that of its messages, in bytes.
const (
	streamSize    = 64 << 20
	streamMessage = 64 << 10
)

// service is the benchmark service that gRPC's own implementations are compared with.
type service struct {
	pb.UnimplementedBenchmarkServiceServer
}

// UnaryCall sends back what came.
func (service) UnaryCall(_ context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: in.Payload}, nil
}

// StreamingFromServer sends streamSize bytes.
func (service) StreamingFromServer(in *pb.SimpleRequest, out grpc.ServerStreamingServer[pb.SimpleResponse]) error {
	message := &pb.SimpleResponse{Payload: &pb.Payload{Body: make([]byte, streamMessage)}}
	for range streamSize / streamMessage {
		if err := out.Send(message); err != nil {
			return err
		}
	}
	return nil
}

// newServer is the server behind every path.
func newServer(opts ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(opts...)
	pb.RegisterBenchmarkServiceServer(s, service{})
	return s
}

// echo is the service's client.
type echo struct{ pb.BenchmarkServiceClient }

func newEcho(cc *grpc.ClientConn) *echo { return &echo{pb.NewBenchmarkServiceClient(cc)} }

func newRequest(size int) *pb.SimpleRequest {
	return &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, size)}}
}

// call sends the request's payload there and back.
func (e *echo) call(ctx context.Context, request *pb.SimpleRequest, opts ...grpc.CallOption) error {
	_, err := e.UnaryCall(ctx, request, opts...)
	return err
}

// stream receives streamSize bytes.
func (e *echo) stream(ctx context.Context) error {
	in, err := e.StreamingFromServer(ctx, newRequest(0))
	if err != nil {
		return err
	}
	got := 0
	for {
		message, err := in.Recv()
		if err == io.EOF && got == streamSize {
			return nil
		}
		if err != nil {
			return err
		}
		got += len(message.Payload.Body)
	}
}
