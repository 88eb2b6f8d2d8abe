package cellgrpc

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cellnode/cellnode/client/cellproto"
	"github.com/cellnode/cellnode/internal/choice"
)

const (
	// A call that changes nothing and takes longer than hedgeAt of those before it is made a second time, on another
	// instance, as long as that happens to at most hedgeThousandths of them.
	hedgeAt          = 0.95
	hedgeThousandths = 50
	hedgeBurst       = 10
)

// calls is the interceptor of one connection's unary calls.
type calls struct {
	budget  *choice.Budget
	mu      sync.RWMutex
	methods map[string]*method
}

// method is what is known of one; nil: it may have side effects.
type method struct{ latencies choice.Latencies }

func newCalls() *calls {
	return &calls{budget: choice.NewBudget(hedgeThousandths, hedgeBurst), methods: map[string]*method{}}
}

func (c *calls) unary(ctx context.Context, name string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	first := &call{Context: ctx}
	m := c.method(name)
	if m == nil {
		return invoke(first, name, req, reply, cc, opts...)
	}
	began := time.Now()
	c.budget.Earn()
	err := c.hedged(first, m, opts, reply, func(ctx context.Context, reply any) error {
		return invoke(ctx, name, req, reply, cc, opts...)
	})
	if err == nil {
		m.latencies.Observe(time.Since(began))
	}
	return err
}

// stream notes where a streaming call goes, so that a retry of it goes elsewhere.
func (c *calls) stream(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, name string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(&call{Context: ctx, stream: true}, d, cc, name, opts...)
}

// method returns what is known of a method that its interface calls free of side effects, or nil.
func (c *calls) method(name string) *method {
	c.mu.RLock()
	m, known := c.methods[name]
	c.mu.RUnlock()
	if known {
		return m
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, known = c.methods[name]; known {
		return m
	}
	if hasNoSideEffects(name) {
		m = new(method)
	}
	c.methods[name] = m
	return m
}

// hasNoSideEffects reports whether all interfaces of the program that have the method say so.
func hasNoSideEffects(name string) bool {
	service, m, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if !ok {
		return false
	}
	list := cellproto.Methods(protoreflect.FullName(service), protoreflect.Name(m))
	for _, d := range list {
		o, ok := d.Options().(*descriptorpb.MethodOptions)
		if !ok || o.GetIdempotencyLevel() != descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
			return false
		}
	}
	return len(list) > 0
}

type invocation func(ctx context.Context, reply any) error

// hedged makes a call and, if that takes longer than most, a second one beside it. The first answer counts, and the other
// call is cancelled.
func (c *calls) hedged(first *call, m *method, opts []grpc.CallOption, reply any, invoke invocation) error {
	message, isProto := reply.(proto.Message)
	delay, known := m.latencies.Quantile(hedgeAt)
	if !known || !isProto || observed(opts) {
		return invoke(first, reply)
	}
	var cancel context.CancelFunc
	parent := first.Context
	first.Context, cancel = context.WithCancel(parent)
	defer cancel()
	h := &hedge{first: first, cancelFirst: cancel, reply: message.ProtoReflect().New().Interface(), done: make(chan struct{})}
	var cancelSecond context.CancelFunc
	h.ctx, cancelSecond = context.WithCancel(parent)
	defer cancelSecond()
	timer := time.AfterFunc(delay, func() { h.run(c.budget, invoke) })
	err := invoke(first, reply)
	if timer.Stop() {
		return err
	}
	if err == nil {
		cancelSecond()
	}
	<-h.done // it reads the request, which is the caller's again when we return
	if err != nil && h.answered {
		proto.Reset(message)
		proto.Merge(message, h.reply)
		return nil
	}
	return err
}

// hedge is the second one of a call.
type hedge struct {
	ctx         context.Context
	first       *call
	cancelFirst context.CancelFunc
	reply       proto.Message
	answered    bool
	done        chan struct{}
}

func (h *hedge) run(budget *choice.Budget, invoke invocation) {
	defer close(h.done)
	if !budget.Spend() {
		return
	}
	second := &call{Context: h.ctx, other: true}
	h.first.mu.Lock()
	second.tried = h.first.tried
	h.first.mu.Unlock()
	if invoke(second, h.reply) == nil {
		h.answered = true
		h.cancelFirst()
	}
}

// observed reports whether the caller wants more of a call than its answer, which two calls would both write to.
func observed(opts []grpc.CallOption) bool {
	for _, o := range opts {
		switch o.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
			return true
		}
	}
	return false
}
