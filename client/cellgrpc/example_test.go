package cellgrpc_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cellnode/cellnode/client/cellgrpc"
)

// The connection goes to all instances of the cell, each call to the one that answers soonest.
func ExampleNewClient() {
	cc, err := cellgrpc.NewClient("cell:///exchange")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cc.Close()
	reply, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(reply.GetStatus(), err)
}

// A service config is used as with any gRPC connection. One that names no policy keeps ours.
func ExampleNewClient_serviceConfig() {
	cc, err := cellgrpc.NewClient("cell:///exchange", grpc.WithDefaultServiceConfig(`{"methodConfig":[{
		"name": [{"service": "acme.exchange.v1.Exchange"}],
		"timeout": "2s",
		"retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]}}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cc.Close()
}
