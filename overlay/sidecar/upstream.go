package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/link"
)

// Hold is how long Dial waits for an upstream that is not there, so that a service can restart without a client noticing. It
// leaves time to say that it was in vain: clients wait 2 s for a Welcome.
const Hold = link.PrepareTime - lastRetry

// Waits between two tries of Dial.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 100 * time.Millisecond
)

// Upstream is where a service listens: a Unix socket or a TCP port. The zero value is none.
type Upstream struct {
	network string // "unix", "tcp"
	address string // an absolute path; host:port
}

// ParseUpstream reads unix:PATH (unix:///PATH too) or tcp:HOST:PORT. A relative path is taken from the working directory
// of now.
func ParseUpstream(s string) (Upstream, error) {
	var problem string
	switch kind, rest, _ := strings.Cut(s, ":"); kind {
	case "unix":
		if path, ok := strings.CutPrefix(rest, "//"); ok {
			rest = path
		}
		if problem = pathProblem(rest); problem == "" {
			path, err := filepath.Abs(rest)
			if err != nil {
				return Upstream{}, fmt.Errorf("sidecar: upstream %q: %w", s, err)
			}
			if problem = lengthProblem(path); problem == "" {
				return Upstream{network: "unix", address: path}, nil
			}
		}
	case "tcp":
		if problem = hostPortProblem(rest); problem == "" {
			return Upstream{network: "tcp", address: rest}, nil
		}
	default:
		problem = "write unix:/path/to/socket or tcp:127.0.0.1:7000"
	}
	return Upstream{}, fmt.Errorf("sidecar: upstream %q: %s", s, problem)
}

func pathProblem(path string) string {
	switch {
	case path == "":
		return "names no path: write unix:/path/to/socket"
	case path[0] == '@' || path[0] == 0:
		return "abstract sockets are open to every user of the machine: write a path"
	case strings.ContainsRune(path, 0):
		return "the path holds a NUL byte"
	}
	return ""
}

func lengthProblem(path string) string {
	most := 103
	if runtime.GOOS == "linux" {
		most = 107
	}
	if len(path) > most {
		return fmt.Sprintf("the path is %d bytes long and this system takes %d: choose a shorter one", len(path), most)
	}
	return ""
}

func hostPortProblem(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "write tcp:HOST:PORT, as tcp:127.0.0.1:7000 or tcp:[::1]:7000"
	}
	if host == "" {
		return "names no host: write tcp:127.0.0.1:" + port
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("port %q is not a number from 1 to 65535", port)
	}
	return ""
}

// String returns what ParseUpstream reads.
func (u Upstream) String() string {
	if u.network == "" {
		return ""
	}
	return u.network + ":" + u.address
}

// IsZero says whether u is no upstream.
func (u Upstream) IsZero() bool { return u == Upstream{} }

// Network returns "unix" or "tcp", and Address the socket's path or host:port.
func (u Upstream) Network() string { return u.network }

// Address returns the socket's path or host:port.
func (u Upstream) Address() string { return u.address }

// DialOnce connects, or says at once that nobody is there. Health checks use it.
func (u Upstream) DialOnce(ctx context.Context) (net.Conn, error) {
	if u.IsZero() {
		return nil, errors.New("sidecar: no upstream is set")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, u.network, u.address)
	if err != nil {
		return nil, fmt.Errorf("sidecar: upstream %s: %w", u, bare(err))
	}
	return conn, nil
}

// Dial connects. While nobody listens there, or the queue of a Unix socket is full, it tries again until Hold has passed
// or ctx ends; the error is then that of the last try.
func (u Upstream) Dial(ctx context.Context) (net.Conn, error) {
	end := time.Now().Add(Hold)
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		conn, err := u.DialOnce(ctx)
		if err == nil || !isAbsent(err) || time.Until(end) < wait {
			return conn, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// bare takes the network and address off an error that is about to be told with them.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
