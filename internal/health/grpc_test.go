package health

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestGRPCServiceIsWellWhenItSaysServing(t *testing.T) {
	tests := []struct {
		name    string
		path    string
		status  pb.HealthCheckResponse_ServingStatus
		problem string
	}{
		{"serving", "", pb.HealthCheckResponse_SERVING, ""},
		{"not serving", "", pb.HealthCheckResponse_NOT_SERVING, "the service says NOT_SERVING"},
		{"one service of several", "acme.Exchange", pb.HealthCheckResponse_SERVING, ""},
		{"a service that is not known", "acme.Other", pb.HealthCheckResponse_SERVING, `knows no "acme.Other"`},
	}
	for _, tt := range tests {
		for _, kind := range []string{"grpc", ""} {
			t.Run(tt.name+" by kind "+kind, func(t *testing.T) {
				ln, dial := listen(t)
				server := grpc.NewServer()
				state := health.NewServer()
				state.SetServingStatus("", tt.status)
				state.SetServingStatus("acme.Exchange", tt.status)
				pb.RegisterHealthServer(server, state)
				go func() { _ = server.Serve(ln) }()
				defer server.Stop()
				wantVerdict(t, manifest.Health{Kind: kind, Path: tt.path}, dial, tt.problem)
			})
		}
	}
}

func TestHTTP2ServiceWithoutHealthIsWellWhileItAnswers(t *testing.T) {
	for _, kind := range []string{"grpc", ""} {
		t.Run("gRPC by kind "+kind, func(t *testing.T) {
			ln, dial := listen(t)
			server := grpc.NewServer()
			go func() { _ = server.Serve(ln) }()
			defer server.Stop()
			wantVerdict(t, manifest.Health{Kind: kind}, dial, "")
		})
		t.Run("plain HTTP/2 by kind "+kind, func(t *testing.T) {
			ln, dial := listen(t)
			var protocols http.Protocols
			protocols.SetUnencryptedHTTP2(true)
			server := &http.Server{Handler: http.NotFoundHandler(), Protocols: &protocols}
			go func() { _ = server.Serve(ln) }()
			defer server.Close()
			wantVerdict(t, manifest.Health{Kind: kind}, dial, "")
		})
	}
}

func TestGRPCCheckSeesAHangAndADeath(t *testing.T) {
	ln, dial := listen(t)
	serve(ln, silent)
	check, err := New(manifest.Health{Kind: "grpc"}, dial, "")
	if err != nil {
		t.Fatal(err)
	}
	h := manifest.Health{Timeout: 100 * time.Millisecond}
	if err := Once(t.Context(), h, check); err == nil || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("a service that hangs: %v", err)
	}
	wantVerdict(t, manifest.Health{Kind: "grpc"}, nobody, "connection refused")
}

func TestGRPCCheckKeepsItsConnectionAndSeesItFreeze(t *testing.T) {
	ln, dial := listen(t)
	server := grpc.NewServer()
	go func() { _ = server.Serve(ln) }()
	defer server.Stop()
	var dials int
	var frozen atomic.Bool
	check, err := New(manifest.Health{Kind: "grpc"}, func(ctx context.Context) (net.Conn, error) {
		dials++
		c, err := dial(ctx)
		return &freezing{c, &frozen}, err
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer check.Close()
	for range freshAfter {
		if err := check.Check(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections for %d checks", dials, freshAfter)
	}
	if err := check.Check(within(t, 20*time.Second)); err != nil || dials != 2 {
		t.Errorf("the next check: %v, on connection %d; want a fresh one", err, dials)
	}
	frozen.Store(true)
	if check.Check(within(t, 100*time.Millisecond)) == nil {
		t.Error("a service whose connections freeze counts as well")
	}
}

// freezing is a connection on which nothing is sent any more once the flag is set, as to a process that is stopped.
type freezing struct {
	net.Conn
	frozen *atomic.Bool
}

func (c *freezing) Write(p []byte) (int, error) {
	if c.frozen.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// wantVerdict checks twice, for the second check may go another way.
func wantVerdict(t *testing.T, h manifest.Health, dial Dial, problem string) {
	t.Helper()
	check, err := New(h, dial, "")
	if err != nil {
		t.Fatal(err)
	}
	defer check.Close()
	for range 2 {
		err := check.Check(within(t, 20*time.Second))
		if problem == "" && err != nil {
			t.Errorf("unwell: %v", err)
		}
		if problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("verdict %v, want %q", err, problem)
		}
	}
}
