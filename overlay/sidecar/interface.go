package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/internal/health"
	"github.com/cellnode/cellnode/internal/reflection"
)

// askTimeout is how long a service that has just been found may take to say what it serves.
const askTimeout = 5 * time.Second

// askAgain is of how many checks one asks a service again that has not said what it serves: it was silent, or not there.
const askAgain = 10

// interfaceCheck is a health check of a service that must serve its interface too, as far as it lets itself be asked. It
// asks until it has an answer, each time that the service comes: an instance is known by its fingerprint, and one that serves
// something else is not well, whatever its health server says.
type interfaceCheck struct {
	well   health.Check
	dial   health.Dial
	wanted []protoreflect.FileDescriptor
	log    *slog.Logger
	asked  bool // and answered or refused, since the service was last away
	rest   int  // checks until a service that has not answered is asked again
}

// withInterface adds to check what the checkout says of the interface: that the service speaks gRPC, and what it serves. A
// cell without gRPC services is left as it is.
func (s *Sidecar) withInterface(check health.Check) health.Check {
	wanted := s.cfg.Instance.Interface
	if !reflection.HasServices(wanted) {
		return check
	}
	health.ExpectGRPC(check)
	return &interfaceCheck{well: check, dial: s.upstream.DialOnce, wanted: wanted, log: s.log}
}

// Check asks for the health first: whoever is not well need not say what it serves.
func (c *interfaceCheck) Check(ctx context.Context) error {
	if err := c.well.Check(ctx); err != nil {
		c.asked, c.rest = false, 0
		return err
	}
	if c.asked {
		return nil
	}
	if c.rest > 0 {
		c.rest--
		return nil
	}
	return c.ask(ctx)
}

// Close closes the check of its health.
func (c *interfaceCheck) Close() error { return c.well.Close() }

// ask returns a *reflection.ContradictionError, or nil. A service that cannot be asked is taken at its word.
func (c *interfaceCheck) ask(ctx context.Context) error {
	err := reflection.Check(ctx, func(ctx context.Context) (net.Conn, error) { return c.dial(ctx) }, c.wanted)
	var contradiction *reflection.ContradictionError
	if errors.As(err, &contradiction) {
		return contradiction
	}
	if c.asked = !unanswered(err); !c.asked {
		c.rest = askAgain - 1
	}
	if err != nil {
		c.log.Debug("the service does not say what it serves", "err", err)
	}
	return nil
}

// unanswered says whether err, which may be nil, is that of a service which was silent or not reached over gRPC. All else is
// an answer, if only that it does not say what it serves.
func unanswered(err error) bool {
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unavailable:
		return true
	}
	return false
}

// askAtStart refuses a service that contradicts its interface before anybody hears of the instance. One that is not there
// yet is asked when it comes.
func (s *Sidecar) askAtStart(ctx context.Context, check health.Check) error {
	c, ok := check.(*interfaceCheck)
	if !ok {
		return nil
	}
	if err := health.Once(ctx, s.cfg.Instance.Health, c.well); err != nil {
		return nil // what is wrong with its health is serve's to say
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := c.ask(ctx); err != nil {
		return &InterfaceError{Cell: s.cfg.Instance.Cell, Err: err}
	}
	return nil
}
