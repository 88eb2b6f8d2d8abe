package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// Programs that know nothing of cells serve and call one: through cellnode run, cell/1 and cellnode forward.
func TestOtherPeoplesPrograms(t *testing.T) {
	t.Run("curl and python3", func(t *testing.T) {
		needs(t, "curl", "python3")
		dir := files(t)
		port := freePort(t)
		running(t, nil, "python3", "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", dir)
		fetches(t, dir, forwarded(t, "tcp:127.0.0.1:"+port))
	})
	t.Run("curl and nginx", func(t *testing.T) {
		needs(t, "curl", "nginx")
		dir, port := files(t), freePort(t)
		conf := filepath.Join(t.TempDir(), "nginx.conf")
		// One process, whose files are ours: workers of a nginx that root starts are somebody else.
		text := fmt.Sprintf("daemon off; master_process off; pid %s.pid; error_log stderr; events {} http { access_log off; server { listen 127.0.0.1:%s; root %s; } }", conf, port, dir)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		running(t, nil, "nginx", "-c", conf)
		fetches(t, dir, forwarded(t, "tcp:127.0.0.1:"+port))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	at := forwarded(t, "tcp:"+l.Addr().String())
	t.Run("node", func(t *testing.T) {
		needs(t, "node")
		out, err := exec.Command("node", "../../examples/clients/health.mjs", "http://"+at).CombinedOutput()
		if err != nil || string(out) != "SERVING\n" {
			t.Errorf("%v: %s", err, out)
		}
	})
	cc, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	t.Run("health probe", func(t *testing.T) {
		r, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%v, %v", r, err)
		}
	})
	t.Run("reflection", func(t *testing.T) {
		stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
		if err := stream.Send(ask); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil || !strings.Contains(r.String(), "grpc.health.v1.Health") {
			t.Errorf("%v, %v", r, err)
		}
	})
}

// needs leaves a test out where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// files is a folder with a small and a large file.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	large := make([]byte, 8<<20)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(large); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"small.txt": []byte("hello\n"), "large.bin": large} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fetches gets all files with curl.
func fetches(t *testing.T, dir, at string) {
	t.Helper()
	for _, name := range []string{"small.txt", "large.bin"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("curl", "-sSf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", "--max-time", "60", "http://"+at+"/"+name).Output()
		if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
			t.Errorf("%s: %v, %d of %d bytes", name, err, len(got), len(want))
		}
	}
	if out, err := exec.Command("curl", "-sSf", "http://"+at+"/nothing").CombinedOutput(); err == nil {
		t.Errorf("a file that is not there: %s", out)
	}
}

// forwarded runs an instance before upstream, and in another home a local port that leads there.
func forwarded(t *testing.T, upstream string) (at string) {
	t.Helper()
	server, consumer := shortHome(t), shortHome(t)
	alone := []string{"CELL_MDNS=false", "CELL_DAEMON=off", "CELL_LISTEN=/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0/tls"}
	const cell = "file:/nonexistent/cells/files@v1.0.0"
	running(t, append(alone, "CELL_HOME="+server), "cellnode", "run", "--upstream", upstream, "--cell", cell, "--commit", strings.Repeat("c0", 20), "--allow-open")
	var status struct {
		Peer   string   `json:"peer"`
		Listen []string `json:"listen"`
	}
	polled(t, "the instance serves", func() bool {
		cmd := exec.Command("cellnode", "status", "--json")
		cmd.Env = append(os.Environ(), "CELL_HOME="+server)
		out, err := cmd.Output()
		return err == nil && json.Unmarshal(bytes.SplitAfter(out, []byte("\n"))[0], &status) == nil && len(status.Listen) > 0
	})
	udp := slices.IndexFunc(status.Listen, func(a string) bool { return strings.Contains(a, "/udp/") })
	entry := status.Listen[udp] + "/p2p/" + status.Peer
	out := running(t, append(alone, "CELL_HOME="+consumer, "CELL_BOOTSTRAP="+entry), "cellnode", "forward", cell, "127.0.0.1:0", "--allow-open")
	line, err := out.ReadString('\n')
	m := regexp.MustCompile(`^forwarding (\S+) to `).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("forward says %q, %v", line, err)
	}
	return m[1]
}

// running starts a program that runs until the test ends, and returns its output.
func running(t *testing.T, env []string, name string, args ...string) *bufio.Reader {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said\n%s", name, &said)
		}
	})
	return bufio.NewReader(out)
}

func shortHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// freePort is one that nobody has now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func polled(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}
