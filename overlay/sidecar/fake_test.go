//go:build !windows

package sidecar

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/manifest"
)

const someCommit = "8f3a000000000000000000000000000000000000"

// newHome is a home whose nodes stay on loopback, each by itself.
func newHome(t *testing.T) *home.Dir {
	t.Helper()
	path, err := os.MkdirTemp("", "h") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	dir, err := home.At(path)
	if err != nil {
		t.Fatal(err)
	}
	config := "listen = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0/tls\"]\nmdns = false\ndht = false\n"
	if err := os.WriteFile(dir.Path("config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newInstance(t *testing.T) Instance {
	t.Helper()
	return plainInstance()
}

func plainInstance() Instance {
	cell := manifest.Cell{Repository: "example.org/acme/echo", Tag: "v1"}
	return Instance{Name: "echo", Cell: cell, Commit: someCommit, Health: manifest.Health{Kind: "tcp"}}
}

// startBeside starts a Sidecar beside a service that listens at a Unix socket.
func startBeside(t *testing.T, dir *home.Dir, socket string) *Sidecar {
	t.Helper()
	s, err := Start(t.Context(), Config{Instance: newInstance(t), Upstream: "unix:" + socket, Home: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// echo is a service that sends back what it gets, until it is closed.
type echo struct {
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newEcho(t *testing.T, socket string) *echo {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{ln: ln, conns: map[net.Conn]bool{}}
	e.wg.Go(e.accept)
	t.Cleanup(e.close)
	return e
}

func (e *echo) accept() {
	for {
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		e.conns[c] = true
		e.mu.Unlock()
		e.wg.Go(func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		})
	}
}

func (e *echo) close() {
	e.ln.Close()
	e.mu.Lock()
	for c := range e.conns {
		c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// open opens a connection through a Sidecar's node, as a client elsewhere does.
func open(t *testing.T, s *Sidecar) (net.Conn, error) {
	t.Helper()
	d, err := link.NewDialer(link.DialerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	to := link.Target{Peer: s.Node().ID(), Addrs: s.Node().Listening(), Trusted: true}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := d.Open(ctx, to, link.Hello{Cell: s.cfg.Instance.Cell.ID()})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c, c.SetDeadline(time.Now().Add(20 * time.Second))
}

// ask sends a line over a connection and wants it back.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	const line = "is anybody there?"
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(line))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != line {
		t.Fatalf("came %q, %v", buf, err)
	}
}

// until waits for what must come.
func until(t *testing.T, what string, came func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !came(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func stateOf(s *Sidecar) string { return s.Node().Status().Instances[0].State }

// hanging is an HTTP service that answers or hangs, as it is told.
type hanging struct {
	mu    sync.Mutex
	hangs chan struct{} // closed when it hangs no more; nil: it does not
}

func (h *hanging) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs = make(chan struct{})
}

func (h *hanging) recover() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.hangs)
	h.hangs = nil
}

func (h *hanging) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	hangs := h.hangs
	h.mu.Unlock()
	if hangs != nil {
		select {
		case <-hangs:
		case <-r.Context().Done():
		}
	}
}

// files are what lies in a directory, leaving out locks, which stay.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range list {
		if filepath.Ext(f.Name()) != ".lock" {
			names = append(names, f.Name())
		}
	}
	return names
}
