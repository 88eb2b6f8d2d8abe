// Command exchange runs one instance of the exchange on a socket.
//
// Where it listens: the -listen flag, else CELL_SOCKET, else CELL_PORT on loopback. The last two
// are what cellnode sets for a service that it starts.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"cell-hub.acme.com/acme/exchange"
	pb "cell-hub.acme.com/acme/exchange/exchangepb"
)

// grace is how long running calls may go on after SIGTERM.
const grace = 5 * time.Second

func main() {
	listen := flag.String("listen", "", "`address` to serve on: unix:/path or tcp:host:port (default $CELL_SOCKET)")
	id := flag.String("id", strconv.Itoa(os.Getpid()), "`name` of this instance in its replies (default the process id)")
	flag.Bool("membrane", false, "accepted from the program that starts instances; changes nothing here")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *id); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets running calls finish.
func run(ctx context.Context, address, id string) error {
	ln, err := listenOn(address, os.Getenv)
	if err != nil {
		return err
	}
	market, well := exchange.New(id), health.NewServer()
	srv := grpc.NewServer()
	pb.RegisterExchangeServer(srv, market)
	healthpb.RegisterHealthServer(srv, well)
	reflection.Register(srv)
	well.SetServingStatus(pb.Exchange_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	fmt.Printf("exchange: instance %s serves on %s:%s\n", id, ln.Addr().Network(), ln.Addr())

	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("exchange: %w", err)
	case <-ctx.Done():
	}
	well.Shutdown() // health turns NOT_SERVING first, so that new callers go elsewhere
	market.Stop()
	late := time.AfterFunc(grace, srv.Stop)
	defer late.Stop()
	srv.GracefulStop()
	<-served
	return nil
}

// listenOn opens the address of the flag, or the one the environment gives.
func listenOn(address string, getenv func(string) string) (net.Listener, error) {
	if address == "" {
		address = getenv("CELL_SOCKET")
	}
	if port := getenv("CELL_PORT"); address == "" && port != "" {
		address = "tcp:127.0.0.1:" + port
	}
	network, addr, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := removeStale(addr); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	if network == "unix" {
		if err := os.Chmod(addr, 0o600); err != nil {
			ln.Close()
			return nil, fmt.Errorf("exchange: %w", err)
		}
	}
	return ln, nil
}
