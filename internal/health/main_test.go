package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain plays the command of an exec check, if told so.
func TestMain(m *testing.M) {
	switch os.Getenv("HEALTH_TEST_ROLE") {
	case "":
		goleak.VerifyTestMain(m)
	case "well":
		here, _ := os.Getwd()
		if here != os.Getenv("HEALTH_TEST_DIR") || os.Getenv("CELL_KEY") != "" {
			os.Exit(4)
		}
	case "unwell":
		fmt.Println("disk\nis full")
		os.Exit(3)
	case "hangs": // and so does its child, which holds a connection to tell of its end
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "HEALTH_TEST_ROLE=child")
		if err := child.Start(); err != nil {
			os.Exit(5)
		}
		select {}
	case "child":
		if _, err := net.Dial("unix", os.Getenv("HEALTH_TEST_LIFE")); err != nil {
			os.Exit(6)
		}
		select {}
	}
}

// listen returns a Unix listener and a way to dial it.
func listen(t *testing.T) (net.Listener, Dial) {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// serve answers each connection with handle and closes it behind.
func serve(ln net.Listener, handle func(net.Conn)) {
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
}

// silent is a service that accepts, reads and never answers, as a process that is stopped.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// nobody is a dial to a service that is not there.
func nobody(context.Context) (net.Conn, error) { return nil, errRefused }

var errRefused = errors.New("connection refused")

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
