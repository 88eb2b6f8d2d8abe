package cellgrpc

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cellnode/cellnode/client/cellproto"
	"github.com/cellnode/cellnode/internal/choice"
)

const (
	askMethod = "/cellgrpc.test.Hedge/Ask" // free of side effects
	buyMethod = "/cellgrpc.test.Hedge/Buy"
)

// declare makes the two methods known, as a generated package does.
var declare = sync.OnceValue(func() error {
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		value := proto.String(".google.protobuf.StringValue")
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: value, OutputType: value, Options: &descriptorpb.MethodOptions{IdempotencyLevel: &level},
		}
	}
	registry := cellproto.In("cellgrpc/test")
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("cellgrpc/test/hedge.proto"), Package: proto.String("cellgrpc.test"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/wrappers.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Hedge"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Ask", descriptorpb.MethodOptions_NO_SIDE_EFFECTS), method("Buy", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN),
			},
		}},
	}, registry)
	if err != nil {
		return err
	}
	return registry.RegisterFile(file)
})

// oracle answers a value with its name, as late as it is told.
type oracle struct {
	name  string
	calls atomic.Int32
	wait  func(ctx context.Context, call int32) error
}

func (o *oracle) handle(_ any, s grpc.ServerStream) error {
	n := o.calls.Add(1)
	var q wrapperspb.StringValue
	if err := s.RecvMsg(&q); err != nil {
		return err
	}
	if o.wait != nil {
		if err := o.wait(s.Context(), n); err != nil {
			return err
		}
	}
	return s.SendMsg(wrapperspb.String(q.Value + " " + o.name))
}

// oracles is a cell of two, a near one and a far one.
func oracles(t *testing.T, near, far *oracle) *grpc.ClientConn {
	t.Helper()
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	c := newCell(t)
	c.addServer(time.Millisecond, grpc.NewServer(grpc.UnknownServiceHandler(near.handle)))
	c.addServer(50*time.Millisecond, grpc.NewServer(grpc.UnknownServiceHandler(far.handle)))
	cc := c.connect()
	both(t, c)
	return cc
}

func invoke(ctx context.Context, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) (string, error) {
	var reply wrapperspb.StringValue
	err := cc.Invoke(ctx, method, wrapperspb.String("who?"), &reply, opts...)
	return reply.Value, err
}

func TestACallThatChangesNothingIsMadeTwiceWhenItTakesLong(t *testing.T) {
	const mark = "last" // second askings of earlier calls may still be under way
	var hung, answered atomic.Int32
	wait := func(ctx context.Context, _ int32) error {
		if len(metadata.ValueFromIncomingContext(ctx, mark)) == 0 {
			return nil
		}
		if hung.CompareAndSwap(0, 1) { // whoever is asked first
			<-ctx.Done()
			return ctx.Err()
		}
		answered.Add(1)
		return nil
	}
	near, far := &oracle{name: "near", wait: wait}, &oracle{name: "far", wait: wait}
	cc := oracles(t, near, far)
	for range 100 {
		if _, err := invoke(within(t), cc, askMethod); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := invoke(metadata.AppendToOutgoingContext(within(t), mark, "yes"), cc, askMethod); err != nil || !strings.HasPrefix(got, "who? ") {
		t.Errorf("got %q, %v, want the answer of the other one", got, err)
	}
	if hung.Load() != 1 || answered.Load() != 1 {
		t.Errorf("%d hung, %d were answered", hung.Load(), answered.Load())
	}
}

func TestACallWithEffectsIsMadeOnce(t *testing.T) {
	var hangs atomic.Bool
	wait := func(ctx context.Context, _ int32) error {
		if hangs.Load() {
			<-ctx.Done()
		}
		return ctx.Err()
	}
	near, far := &oracle{name: "near", wait: wait}, &oracle{name: "far", wait: wait}
	cc := oracles(t, near, far)
	for range 100 {
		if _, err := invoke(within(t), cc, buyMethod); err != nil {
			t.Fatal(err)
		}
	}
	made := func() int32 { return near.calls.Load() + far.calls.Load() }
	before := made()
	hangs.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := invoke(ctx, cc, buyMethod); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if n := made() - before; n != 1 {
		t.Errorf("made %d times", n)
	}
}

func TestHedgesStayWithinTheirBudget(t *testing.T) {
	const callers, mark = 400, "held" // second askings of the calls before may still be under way
	var total atomic.Int32
	let := make(chan struct{})
	wait := func(ctx context.Context, _ int32) error {
		if len(metadata.ValueFromIncomingContext(ctx, mark)) > 0 {
			total.Add(1)
			<-let
		}
		return nil
	}
	near, far := &oracle{name: "near", wait: wait}, &oracle{name: "far", wait: wait}
	cc := oracles(t, near, far)
	for range 100 {
		if _, err := invoke(within(t), cc, askMethod); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if _, err := invoke(metadata.AppendToOutgoingContext(within(t), mark, "yes"), cc, askMethod); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return total.Load() >= callers })
	for began := time.Now(); time.Since(began) < 100*time.Millisecond && total.Load() < 2*callers; {
		time.Sleep(time.Millisecond)
	}
	close(let)
	wg.Wait()
	if n := total.Load() - callers; n < 1 || n > callers*hedgeThousandths/1000+hedgeBurst {
		t.Errorf("%d of %d calls were made twice", n, callers)
	}
}

func TestACallWhoseHeadersAreWantedIsMadeOnce(t *testing.T) {
	var header, trailer metadata.MD
	if !observed([]grpc.CallOption{grpc.Header(&header)}) || !observed([]grpc.CallOption{grpc.WaitForReady(true), grpc.Trailer(&trailer)}) {
		t.Error("two calls would write to one header")
	}
	if observed([]grpc.CallOption{grpc.WaitForReady(true)}) {
		t.Error("an ordinary option forbids hedges")
	}
}

func TestAMethodIsFreeOfSideEffectsIfAllInterfacesSaySo(t *testing.T) {
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]bool{askMethod: true, buyMethod: false, "/grpc.health.v1.Health/Check": false, "/no.Such/Method": false, "": false} {
		if got := hasNoSideEffects(method); got != want {
			t.Errorf("%s: %v", method, got)
		}
	}
	if list := cellproto.Methods("cellgrpc.test.Hedge", protoreflect.Name("Ask")); len(list) != 1 {
		t.Errorf("%d declarations", len(list))
	}
}

func TestAnAttemptThatHasNowhereElseToGoIsNotMade(t *testing.T) {
	set := choice.New(1)
	set.Update([]choice.Member{{ID: "a"}}, time.Now())
	c := &call{Context: t.Context(), other: true}
	c.tried.Add(set.Kept()[0])
	if i, err := c.best(set.Kept(), time.Now()); err != errNoOther {
		t.Errorf("got %v, %v", i, err)
	}
}
