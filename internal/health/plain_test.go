package health

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

func TestHTTPServiceIsWellBelow400(t *testing.T) {
	ln, dial := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/healthz?deep=1", "/":
			w.WriteHeader(http.StatusNoContent)
		default:
			http.NotFound(w, r)
		}
	})}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	for path, problem := range map[string]string{
		"": "", "/healthz?deep=1": "", "/moved": "", "/broken": "GET /broken answers 503", "/absent": "answers 404",
	} {
		wantVerdict(t, manifest.Health{Kind: "http", Path: path}, dial, problem)
	}
	wantVerdict(t, manifest.Health{Kind: "http"}, nobody, "connection refused")
}

func TestHTTPCheckSeesAHang(t *testing.T) {
	ln, dial := listen(t)
	serve(ln, silent)
	check, err := New(manifest.Health{Kind: "http"}, dial, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Check(within(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("verdict %v", err)
	}
}

func TestTCPCheckCannotSeeAHang(t *testing.T) {
	ln, dial := listen(t)
	serve(ln, silent)
	wantVerdict(t, manifest.Health{Kind: "tcp"}, dial, "")
	wantVerdict(t, manifest.Health{Kind: "tcp"}, nobody, "connection refused")
}

func TestExecCheckIsItsCommandsStatus(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HEALTH_TEST_DIR", dir)
	t.Setenv("CELL_KEY", "secret")
	for role, problem := range map[string]string{"well": "", "unwell": "exit status 3: disk is full"} {
		t.Setenv("HEALTH_TEST_ROLE", role)
		check, err := New(manifest.Health{Kind: "exec", Command: []string{os.Args[0]}}, nil, dir)
		if err != nil {
			t.Fatal(err)
		}
		err = check.Check(within(t, 20*time.Second))
		if (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: verdict %v, want %q", role, err, problem)
		}
	}
	check, err := New(manifest.Health{Kind: "exec", Command: []string{"./nowhere"}}, nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Check(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing command: %v", err)
	}
}

func TestExecCheckThatTakesTooLongLeavesNoProcess(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("no process groups here")
	}
	ln, _ := listen(t)
	t.Setenv("HEALTH_TEST_LIFE", ln.Addr().String())
	t.Setenv("HEALTH_TEST_ROLE", "hangs")
	check, err := New(manifest.Health{Kind: "exec", Command: []string{os.Args[0]}}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	verdict := make(chan error, 1)
	go func() { verdict <- check.Check(ctx) }()
	child, err := ln.Accept() // it runs
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	cancel()
	if err := <-verdict; err == nil {
		t.Error("a command that was killed counts as well")
	}
	if _, err := child.Read(make([]byte, 1)); err == nil {
		t.Error("its child lives")
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	tests := []struct {
		h    manifest.Health
		dial Dial
		want string
	}{
		{manifest.Health{Kind: "ping"}, nobody, "grpc, http, tcp or exec"},
		{manifest.Health{Kind: "exec"}, nobody, "no command"},
		{manifest.Health{Kind: "http", Path: "healthz"}, nobody, "/healthz"},
		{manifest.Health{Kind: "http", Path: "/a\x7f"}, nobody, "/healthz"},
		{manifest.Health{}, nil, "no way to dial"},
	}
	for _, tt := range tests {
		if _, err := New(tt.h, tt.dial, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v): %v, want %q", tt.h, err, tt.want)
		}
	}
	for _, h := range []manifest.Health{{Interval: -1}, {Timeout: -1}, {Failures: -1}} {
		if _, err := Watch(h, tcpCheck{dial: nobody}, nil); err == nil {
			t.Errorf("Watch(%+v) took it", h)
		}
		if Once(t.Context(), h, tcpCheck{dial: nobody}) == nil {
			t.Errorf("Once(%+v) took it", h)
		}
	}
}
