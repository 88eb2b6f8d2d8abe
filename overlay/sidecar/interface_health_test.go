//go:build !windows

package sidecar

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	grpcreflection "google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/internal/health"
	"github.com/cellnode/cellnode/internal/reflection"
	"github.com/cellnode/cellnode/manifest"
)

// compiled is an interface that no service of these tests serves.
func compiled(t *testing.T) []protoreflect.FileDescriptor {
	t.Helper()
	const source = `syntax = "proto3"; package acme; message M {} service Quotes { rpc Latest(M) returns (M); }`
	files, err := manifest.Compile(map[string][]byte{"a.proto": []byte(source)}, []string{"a.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// listening is a Unix socket to which the kernel connects whoever comes.
func listening(t *testing.T) (net.Listener, Upstream) {
	t.Helper()
	socket := socketPath(t)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, Upstream{"unix", socket}
}

// serveGRPC serves health, and with reflection what it serves, until the test's end.
func serveGRPC(t *testing.T, ln net.Listener, reflects bool) *grpchealth.Server {
	t.Helper()
	server, state := grpc.NewServer(), grpchealth.NewServer()
	pb.RegisterHealthServer(server, state)
	if reflects {
		grpcreflection.Register(server)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return state
}

func TestAGRPCServiceThatListensBeforeItServesIsUnhealthyUntilThen(t *testing.T) {
	ln, upstream := listening(t)
	in := newInstance(t)
	in.Interface = []protoreflect.FileDescriptor{pb.File_grpc_health_v1_health_proto}
	in.Health = manifest.Health{Interval: 20 * time.Millisecond, Timeout: 200 * time.Millisecond, Failures: 2}
	s, err := Start(t.Context(), Config{Instance: in, Upstream: upstream.String(), Home: newHome(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if state := stateOf(s); state != "unhealthy" {
		t.Errorf("it does not serve yet, and is %s", state)
	}
	service := serveGRPC(t, ln, true)
	until(t, "it is well", func() bool { return stateOf(s) == "serving" })
	service.SetServingStatus("", pb.HealthCheckResponse_NOT_SERVING)
	until(t, "it says that it is not", func() bool { return stateOf(s) == "unhealthy" })
}

// wellCheck is a health check of a service that is always well, as by its own command.
type wellCheck struct{ err error }

func (c *wellCheck) Check(context.Context) error { return c.err }
func (c *wellCheck) Close() error                { return nil }

// asking is an interfaceCheck of what the tests' services do not serve, and how often it has asked.
func asking(t *testing.T, upstream Upstream) (check *interfaceCheck, well *wellCheck, asked *int) {
	well, asked = &wellCheck{}, new(int)
	dial := func(ctx context.Context) (net.Conn, error) {
		*asked++
		return upstream.DialOnce(ctx)
	}
	return &interfaceCheck{well: well, dial: dial, wanted: compiled(t), log: slog.New(slog.DiscardHandler)}, well, asked
}

func TestAServiceThatWasSilentIsAskedForItsInterfaceUntilItAnswers(t *testing.T) {
	ln, upstream := listening(t)
	check, _, _ := asking(t, upstream)
	if err := health.Once(t.Context(), manifest.Health{Timeout: 50 * time.Millisecond}, check); err != nil {
		t.Fatalf("a service that is silent is not taken at its word: %v", err)
	}
	serveGRPC(t, ln, true)
	var contradiction *reflection.ContradictionError
	for range askAgain {
		if err := check.Check(t.Context()); errors.As(err, &contradiction) {
			return
		}
	}
	t.Error("its interface was never compared")
}

func TestOnlyWhoSpeaksNoGRPCIsAskedForItsInterfaceAgain(t *testing.T) {
	tests := []struct {
		name  string
		serve func(*testing.T, net.Listener)
		want  int // times asked in checks
	}{
		{"without reflection", func(t *testing.T, ln net.Listener) { serveGRPC(t, ln, false) }, 1},
		{"not gRPC", func(_ *testing.T, ln net.Listener) {
			go func() {
				for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
					_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
					c.Close()
				}
			}()
		}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, upstream := listening(t)
			tt.serve(t, ln)
			check, well, asked := asking(t, upstream)
			rounds := func() int {
				*asked = 0
				for range 2*askAgain + 1 {
					if err := check.Check(t.Context()); err != nil {
						t.Errorf("unwell: %v", err)
					}
				}
				return *asked
			}
			if got := rounds(); got != tt.want {
				t.Errorf("asked %d times, want %d", got, tt.want)
			}
			well.err = errors.New("connection refused")
			if check.Check(t.Context()) == nil {
				t.Error("a service that is away counts as well")
			}
			well.err = nil
			if got := rounds(); got != tt.want {
				t.Errorf("asked %d times after it was away, want %d", got, tt.want)
			}
		})
	}
}
