package sidecar

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestUpstreamsAreUnixOrTCP(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, network, address string }{
		{"unix:/run/exchange.sock", "unix", "/run/exchange.sock"},
		{"unix:///run/exchange.sock", "unix", "/run/exchange.sock"},
		{"unix:x.sock", "unix", filepath.Join(here, "x.sock")},
		{"tcp:127.0.0.1:7000", "tcp", "127.0.0.1:7000"},
		{"tcp:[::1]:7000", "tcp", "[::1]:7000"},
		{"tcp:exchange.internal:7000", "tcp", "exchange.internal:7000"},
	}
	for _, tt := range tests {
		u, err := ParseUpstream(tt.text)
		if err != nil {
			t.Error(err)
			continue
		}
		if u.Network() != tt.network || u.Address() != tt.address {
			t.Errorf("%s: got %s %s", tt.text, u.Network(), u.Address())
		}
		if again, err := ParseUpstream(u.String()); err != nil || again != u {
			t.Errorf("%s: its String %s gives %v, %v", tt.text, u, again, err)
		}
	}
}

func TestOtherUpstreamsAreRefusedInOneLine(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "write unix:"},
		{"/run/exchange.sock", "write unix:"},
		{"127.0.0.1:7000", "write unix:"},
		{"http://127.0.0.1:7000", "write unix:"},
		{"udp:127.0.0.1:7000", "write unix:"},
		{"unix:", "names no path"},
		{"unix:@exchange", "abstract"},
		{"unix:/a\x00b", "NUL"},
		{"unix:/" + strings.Repeat("x", 120), "choose a shorter one"},
		{"tcp:7000", "tcp:HOST:PORT"},
		{"tcp::7000", "tcp:127.0.0.1:7000"},
		{"tcp:127.0.0.1:0", "1 to 65535"},
		{"tcp:127.0.0.1:70000", "1 to 65535"},
		{"tcp:127.0.0.1:http", "1 to 65535"},
	}
	for _, tt := range tests {
		_, err := ParseUpstream(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line with %q", tt.text, err, tt.want)
		}
	}
}

func TestDialHoldsForAWhileWhileNobodyListens(t *testing.T) {
	missing := Upstream{"unix", socketPath(t)}
	stale := Upstream{"unix", socketPath(t)}
	ln, err := net.Listen("unix", stale.address)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	for name, tt := range map[string]struct {
		upstream Upstream
		want     error
	}{"no socket": {missing, syscall.ENOENT}, "stale socket": {stale, syscall.ECONNREFUSED}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := tt.upstream.Dial(t.Context())
				took := time.Since(start)
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.upstream.String()) {
					t.Errorf("error %v, want %v with the upstream's name", err, tt.want)
				}
				if took > Hold || took < Hold-lastRetry {
					t.Errorf("held for %v, want %v", took, Hold)
				}
				start = time.Now()
				if _, err := tt.upstream.DialOnce(t.Context()); err == nil || time.Since(start) != 0 {
					t.Errorf("DialOnce waited %v: %v", time.Since(start), err)
				}
			})
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	u := Upstream{"unix", socketPath(t)}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := u.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("error %v, want the deadline's and the last try's", err)
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestDialOutlastsARestart(t *testing.T) {
	u := Upstream{"unix", socketPath(t)}
	dialled := make(chan error, 1)
	go func() {
		conn, err := u.Dial(t.Context())
		if err == nil {
			conn.Close()
		}
		dialled <- err
	}()
	ln, err := net.Listen("unix", u.address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s.sock")
}
