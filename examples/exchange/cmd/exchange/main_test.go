package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "cell-hub.acme.com/acme/exchange/exchangepb"
)

// newTestSocket returns a path short enough for a socket on every system.
func newTestSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "exchange")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "e.sock")
}

func TestInstanceServesItsSocketAndLeavesNothing(t *testing.T) {
	socket := newTestSocket(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, "unix:"+socket, "seven") }()

	const pause = 5 * time.Millisecond // the socket may not be there at the first try
	soon := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pause, Multiplier: 1, MaxDelay: pause}}
	cc, err := grpc.NewClient("unix:"+socket, grpc.WithConnectParams(soon), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	wait := grpc.WaitForReady(true)
	reply, err := pb.NewExchangeClient(cc).Quote(t.Context(), &pb.QuoteRequest{Symbol: "ACME"}, wait)
	if err != nil || reply.GetInstance() != "seven" {
		t.Fatalf("Quote: %v, %v, want a reply from seven", reply, err)
	}
	for _, service := range []string{"", pb.Exchange_ServiceDesc.ServiceName} {
		h, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service}, wait)
		if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v, want SERVING", service, h, err)
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", info, err)
	}

	// A tick stream with a long pause must not hold up the stop.
	if _, err := pb.NewExchangeClient(cc).Ticks(t.Context(), &pb.TicksRequest{Symbol: "ACME", IntervalMs: 60_000}, wait); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("socket after the stop: %v, want it gone", err)
	}
}

func TestAddressComesFromTheFlagThenTheEnvironment(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(key string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == key {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	flagged, fromEnv := newTestSocket(t), newTestSocket(t)
	for _, c := range []struct {
		name, flag string
		getenv     func(string) string
		want       string
	}{
		{"flag wins", "unix:" + flagged, env("CELL_SOCKET", fromEnv), flagged},
		{"CELL_SOCKET as a path", "", env("CELL_SOCKET", fromEnv), fromEnv},
		{"CELL_SOCKET with its kind", "", env("CELL_SOCKET", "unix:"+fromEnv, "CELL_PORT", "1"), fromEnv},
		{"CELL_PORT", "", env("CELL_PORT", "0"), "127.0.0.1:"},
	} {
		ln, err := listenOn(c.flag, c.getenv)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := ln.Addr().String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: listens on %s, want %s", c.name, got, c.want)
		}
		ln.Close()
	}
	for _, bad := range []string{"", "unix:", "tcp:7000", "udp:127.0.0.1:1", "relative.sock"} {
		if ln, err := listenOn(bad, env()); err == nil {
			ln.Close()
			t.Errorf("address %q was taken, want an error", bad)
		}
	}
}

func TestStaleSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	socket := newTestSocket(t)
	dead, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	live, err := listenOn(socket, os.Getenv)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	defer live.Close()
	if _, err := listenOn(socket, os.Getenv); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("live socket: %v, want an error that it is in use", err)
	}

	file := filepath.Join(filepath.Dir(socket), "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenOn(file, os.Getenv); err == nil {
		t.Error("a plain file was replaced by a socket")
	}
	if data, _ := os.ReadFile(file); string(data) != "keep" {
		t.Errorf("the file now holds %q", data)
	}
}
