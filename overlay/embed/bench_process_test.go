package embed_test

import (
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cellnode/cellnode/overlay"
)

// BenchmarkColdProcess: a program that makes one gRPC call to a cell, with an empty home and three seeds in its lock, from
// its start to its end, beside one that makes the same call over TLS to an address that is known.
func BenchmarkColdProcess(b *testing.B) {
	bin := b.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./testdata/coldcell", "./testdata/coldtls")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var instances []*overlay.Instance
	for range 3 {
		l, err := node(b).Listen(b.Context(), overlay.Service{Cell: exchange, Commit: commit})
		if err != nil {
			b.Fatal(err)
		}
		serveHealth(b, l)
		instances = append(instances, l.Instance)
	}
	dir := consumerOf(b, instances...)
	cert, _ := certificate(b)
	roots := filepath.Join(bin, "roots.pem")
	write(b, roots, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	serveHealth(b, plain, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	contest(b, func() time.Duration {
		cmd := exec.Command(filepath.Join(bin, "coldcell"))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CELL_HOME="+homeWith(b, ""))
		return run(b, cmd)
	}, func() time.Duration {
		return run(b, exec.Command(filepath.Join(bin, "coldtls"), plain.Addr().String(), roots))
	})
}

func serveHealth(b *testing.B, l net.Listener, opts ...grpc.ServerOption) {
	b.Helper()
	s := grpc.NewServer(opts...)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	b.Cleanup(s.Stop)
}

func run(b *testing.B, cmd *exec.Cmd) time.Duration {
	b.Helper()
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return time.Since(start)
}
