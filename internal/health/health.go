// Package health says whether a service is well: [New] makes a [Check] of what Cell.toml says under [health], and
// [Watch] repeats it.
//
//	kind   well is                                                cannot see
//	grpc   grpc.health.v1 answers SERVING                         –
//	       or an HTTP/2 answer that is not about health           a handler that hangs
//	http   GET path answers below 400 (redirects not followed)    –
//	tcp    a connection is accepted, by the kernel if need be     a process that hangs
//	exec   the command ends with 0                                –
//
// Without a kind it is grpc for a service that speaks HTTP/2 and tcp for others, see [New]: of those a hang is not seen, so
// name a kind for them. Connections are fresh, or kept for a few checks, so that a service which accepts no more is seen.
package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cellnode/cellnode/internal/stall"
	"github.com/cellnode/cellnode/manifest"
)

// Defaults of [health] in Cell.toml. With them a service that hangs is known to hang within two intervals: one until the
// next check, and two timeouts.
const (
	DefaultInterval    = time.Second
	DefaultTimeout     = 400 * time.Millisecond
	DefaultTimeoutExec = time.Second // of kind exec: a process has to start
	DefaultFailures    = 2
)

// Check asks a service once. It returns nil if the service is well, and ends with ctx. Use it from one goroutine at a
// time.
type Check interface {
	Check(ctx context.Context) error
	// Close gives back what is kept between two checks. It may be called more than once.
	Close() error
}

// stateless is for checks that keep nothing.
type stateless struct{}

func (stateless) Close() error { return nil }

// Dial connects to the service. It should say at once that nobody is there.
type Dial func(ctx context.Context) (net.Conn, error)

// New returns the check that h describes. dir is where kind exec runs its command, which New does not look for.
//
// With an empty kind the first check finds out how the service speaks: it sends the HTTP/2 preface and waits for the
// SETTINGS that must be the answer. An HTTP/2 service is checked as by grpc from then on. Any other answer makes it tcp; so
// does a close, or the third silence of the length of half a timeout, but then every tenth check asks again, for a service may
// listen before it serves. Until it answers, a hang of it is not seen: see [ExpectGRPC]. A tcp service is asked anew after it
// was away, for another version may have come back. Name the kind for services that are upset by a foreign preface.
func New(h manifest.Health, dial func(ctx context.Context) (net.Conn, error), dir string) (Check, error) {
	if h.Kind != "exec" && dial == nil {
		return nil, errors.New("health: no way to dial the service")
	}
	switch h.Kind {
	case "":
		return &autoCheck{dial: dial, half: cmp.Or(h.Timeout, DefaultTimeout) / 2, grpc: grpcCheck{dial: dial, service: h.Path}}, nil
	case "grpc":
		return &grpcCheck{dial: dial, service: h.Path}, nil
	case "http":
		return newHTTPCheck(dial, h.Path)
	case "tcp":
		return tcpCheck{dial: dial}, nil
	case "exec":
		if len(h.Command) == 0 || h.Command[0] == "" {
			return nil, errors.New("health: kind exec has no command")
		}
		return execCheck{argv: h.Command, dir: dir}, nil
	}
	return nil, fmt.Errorf("health: kind %q is not known: write grpc, http, tcp or exec", h.Kind)
}

// ExpectGRPC tells a check that New has made for an empty kind, before its first use, that the service is to speak gRPC: one
// that accepts connections and is silent is then not well yet. What answers in another protocol, or closes, is tcp all the
// same. Checks of a named kind are left as they are.
func ExpectGRPC(check Check) {
	if c, ok := check.(*autoCheck); ok {
		c.expected = true
	}
}

// Once checks within h's timeout.
func Once(ctx context.Context, h manifest.Health, check Check) error {
	h, err := withDefaults(h)
	if err != nil {
		return err
	}
	return once(ctx, h.Timeout, check)
}

func once(ctx context.Context, timeout time.Duration, check Check) error {
	ctx, cancel := stall.WithTimeout(ctx, timeout)
	defer cancel()
	err := check.Check(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("health: no answer within %v: %w", timeout, context.DeadlineExceeded)
	}
	return err
}

func withDefaults(h manifest.Health) (manifest.Health, error) {
	if h.Interval == 0 {
		h.Interval = DefaultInterval
	}
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
		if h.Kind == "exec" {
			h.Timeout = DefaultTimeoutExec
		}
	}
	if h.Failures == 0 {
		h.Failures = DefaultFailures
	}
	switch {
	case h.Interval < 0:
		return h, fmt.Errorf("health: interval %v is negative", h.Interval)
	case h.Timeout < 0:
		return h, fmt.Errorf("health: timeout %v is negative", h.Timeout)
	case h.Failures < 0:
		return h, fmt.Errorf("health: failures %d is negative", h.Failures)
	}
	return h, nil
}
