package cellgrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/choice"
)

// repeatable is what a generated package says of calls that change nothing.
const repeatable = `{"methodConfig":[{"name":[{"service":"grpc.health.v1.Health","method":"Check"}],"waitForReady":true,"retryPolicy":{` +
	`"maxAttempts":4,"initialBackoff":"0.05s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

func TestACallInFlightOnAKilledInstanceIsAnsweredByAnother(t *testing.T) {
	asked := make(chan struct{})
	first := &instance{check: func(ctx context.Context) error { // hangs
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}}
	c := newCell(t)
	c.add(time.Millisecond, first)
	cc := c.connect(grpc.WithDefaultServiceConfig(repeatable))
	c.add(time.Second, &instance{})
	go func() {
		<-asked
		first.server.Stop() // closes its connections, as the kernel does for a killed process
	}()
	if err := check(within(t), cc); err != nil {
		t.Errorf("got %v, want an answer of the second instance", err)
	}
	select {
	case <-asked:
	default:
		t.Error("the nearest instance was not asked first")
	}
}

func TestARetryGoesToAnotherInstance(t *testing.T) {
	var bad, good atomic.Int32
	c := newCell(t)
	c.add(time.Millisecond, &instance{check: func(context.Context) error {
		bad.Add(1)
		return status.Error(codes.Unavailable, "broken")
	}})
	c.add(80*time.Millisecond, &instance{check: func(context.Context) error { good.Add(1); return nil }})
	cc := c.connect(grpc.WithDefaultServiceConfig(repeatable))
	both(t, c)
	for range 20 {
		if err := check(within(t), cc); err != nil {
			t.Fatal(err)
		}
	}
	if bad.Load() > 3 || good.Load() != 20 {
		t.Errorf("the failing instance was asked %d times, the other one answered %d", bad.Load(), good.Load())
	}
}

// both waits until each instance has been connected to.
func both(t *testing.T, c *cell) {
	t.Helper()
	eventually(t, "all are connected", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.opened) == len(c.instances)
	})
}

func TestAnInstanceTakesCallsWhenItIsFoundAndNoneWhenItDrains(t *testing.T) {
	var old, young atomic.Int32
	c := newCell(t)
	first := c.add(20*time.Millisecond, &instance{check: func(context.Context) error { old.Add(1); return nil }})
	cc := c.connect()
	if err := check(within(t), cc); err != nil || old.Load() != 1 {
		t.Fatal(err, old.Load())
	}
	c.add(time.Millisecond, &instance{check: func(context.Context) error { young.Add(1); return nil }})
	eventually(t, "the newcomer, who is nearer, takes calls", func() bool {
		if err := check(within(t), cc); err != nil {
			t.Fatal(err)
		}
		return young.Load() > 0
	})
	c.update(func(l []choice.Member) []choice.Member { l[1].Draining = true; return l })
	before := young.Load()
	for range 10 {
		if err := check(within(t), cc); err != nil {
			t.Fatal(err)
		}
	}
	if young.Load() != before {
		t.Errorf("%d calls went to an instance that drains", young.Load()-before)
	}
	if first == "" || old.Load() < 11 {
		t.Errorf("the other one took %d", old.Load())
	}
}

func TestCallsWaitWhileTheCellIsLookedForAnew(t *testing.T) {
	c := newCell(t)
	c.add(time.Millisecond, &instance{})
	cc := c.connect()
	c.update(func([]choice.Member) []choice.Member { return nil })
	eventually(t, "the last instance is let go of", func() bool { return cc.GetState() == connectivity.Connecting })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := check(short, cc); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call while instances are looked for: %v", err)
	}
	c.add(time.Millisecond, &instance{})
	if err := check(within(t), cc); err != nil {
		t.Errorf("a call when one has been found: %v", err)
	}
}

func TestAServiceConfigOfTheCallersOwnIsUsed(t *testing.T) {
	c := newCell(t)
	c.add(time.Millisecond, &instance{check: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	cc := c.connect(grpc.WithDefaultServiceConfig(`{"methodConfig":[{"name":[{}],"timeout":"0.01s"}],"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err := check(within(t), cc); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v, want the config's time limit", err)
	}
	if _, err := NewClient("exchange", grpc.WithDefaultServiceConfig("{")); err == nil {
		t.Error("a config that is no JSON is taken")
	}
	given, err := givenConfig([]grpc.DialOption{grpc.WithDefaultServiceConfig(repeatable), grpc.WithTransportCredentials(insecure.NewCredentials())})
	if err != nil || given != repeatable {
		t.Errorf("gRPC keeps the service config elsewhere now: read %q, %v", given, err)
	}
}

func TestDialSaysWhyThereIsNoConnection(t *testing.T) {
	none := &client.NoneError{Err: errors.New("nobody")}
	c := newCell(t)
	c.err = none
	cc, err := dial(t.Context(), c, "exchange", nil)
	if !errors.Is(err, none) || cc != nil {
		t.Errorf("got %v, %v, want the reason", cc, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := dial(ctx, newCell(t), "exchange", nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection to cell exchange") {
		t.Errorf("got %v, want the end of the context", err)
	}
	refused := errors.New("refused")
	if _, err := dial(t.Context(), unreachable{c, refused}, "exchange", nil); !errors.Is(err, refused) {
		t.Errorf("got %v, want why the instance cannot be reached", err)
	}
}

// unreachable is a cell with an instance that nobody can connect to.
type unreachable struct {
	*cell
	err error
}

func (u unreachable) Choice(context.Context, string) (chooser, error) { return u, nil }

func (u unreachable) Next(ctx context.Context, seen uint64) ([]*choice.Instance, uint64, error) {
	u.set.Update([]choice.Member{{ID: "far"}}, time.Now())
	return u.cell.Next(ctx, seen)
}

func (u unreachable) Open(context.Context, *choice.Instance) (net.Conn, error) { return nil, u.err }

func TestCallsGoOnWhenTheFirstInstanceIsFoundAtLast(t *testing.T) {
	c := newCell(t)
	c.err = &client.NoneError{Err: errors.New("nobody")}
	cc, _, err := newConn(c, "exchange", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if err := check(within(t), cc); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no live instance") {
		t.Errorf("without an instance: %v", err)
	}
	c.add(time.Millisecond, &instance{})
	began := time.Now()
	eventually(t, "calls are answered", func() bool { return check(within(t), cc) == nil })
	if took := time.Since(began); took > maxPause {
		t.Errorf("the first instance takes calls after %s", took)
	}
	c.update(func([]choice.Member) []choice.Member { return nil })
	eventually(t, "calls say why none is answered", func() bool {
		err := check(within(t), cc)
		return err != nil && strings.Contains(err.Error(), "no live instance")
	})
}

func TestAStreamIsRetriedElsewhereAndItsLengthSaysNothing(t *testing.T) {
	c := newCell(t)
	bad := func(any, grpc.ServerStream) error { return status.Error(codes.Unavailable, "broken") }
	c.addServer(time.Millisecond, grpc.NewServer(grpc.UnknownServiceHandler(bad)))
	c.addServer(time.Millisecond, grpc.NewServer(grpc.UnknownServiceHandler(answers)))
	cc := c.connect(grpc.WithDefaultServiceConfig(repeatAsk))
	both(t, c)
	for range 5 {
		s, err := cc.NewStream(within(t), &grpc.StreamDesc{ServerStreams: true}, askMethod)
		if err != nil {
			t.Fatal(err)
		}
		var reply wrapperspb.StringValue
		if err := errors.Join(s.SendMsg(wrapperspb.String("x")), s.CloseSend(), s.RecvMsg(&reply)); err != nil || reply.Value != "x" {
			t.Errorf("got %q, %v", reply.Value, err)
		}
		if err := s.RecvMsg(&reply); err != io.EOF {
			t.Errorf("then %v", err)
		}
	}
	for _, i := range c.set.Kept() {
		if i.InFlight() != 0 {
			t.Errorf("%d in flight after all", i.InFlight())
		}
	}
}
