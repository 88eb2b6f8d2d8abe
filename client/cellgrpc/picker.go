package cellgrpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cellnode/cellnode/internal/choice"
)

// picker sends each call to the best instance whose connection stands.
type picker struct {
	list  []*choice.Instance
	conns map[*choice.Instance]balancer.SubConn
}

// Pick chooses for one attempt of a call.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	began := time.Now()
	c, ok := info.Ctx.Value(callKey{}).(*call)
	if !ok { // the caller uses the policy without our interceptors
		c = &call{stream: true}
	}
	i, err := c.best(p.list, began)
	if err != nil {
		return balancer.PickResult{}, err
	}
	i.Begin()
	if !c.stream {
		i.Await(began)
	}
	return balancer.PickResult{SubConn: p.conns[i], Done: func(d balancer.DoneInfo) {
		if !c.stream {
			i.Heard()
		}
		i.End()
		c.learn(i, d, time.Since(began))
	}}, nil
}

// A call is what the attempts of one call share.
type call struct {
	context.Context
	stream bool // it lasts as long as its caller likes
	other  bool // it may go only where it has not been

	mu    sync.Mutex // a hedge looks at what the first attempt does
	tried choice.Tried
}

type callKey struct{}

// Value makes a call findable from the contexts under it.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

var errNoOther = status.Error(codes.Unavailable, "cellgrpc: no other instance is connected")

// best returns the instance that the next attempt goes to.
func (c *call) best(list []*choice.Instance, now time.Time) (*choice.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := choice.Best(list, choice.RPC, &c.tried, now)
	switch {
	case c.other && (i == nil || c.tried.Has(i)):
		return nil, errNoOther
	case i == nil:
		return nil, balancer.ErrNoSubConnAvailable // all are leaving: the next list is on its way
	}
	c.tried.Add(i)
	return i, nil
}

// learn takes how an attempt ended.
func (c *call) learn(i *choice.Instance, d balancer.DoneInfo, took time.Duration) {
	if d.Err == nil && !d.BytesReceived {
		return // the connection had gone before anything was sent
	}
	o := outcome(d.Err)
	if c.stream {
		i.Outcome(o, time.Now())
		return
	}
	i.Learn(choice.RPC, o, took, time.Now())
}

// outcome says whether an instance is at fault. The other codes are the service's answer to what was asked.
func outcome(err error) choice.Outcome {
	switch status.Code(err) {
	case codes.Canceled:
		return choice.Ended
	case codes.Unavailable, codes.Internal, codes.DataLoss, codes.ResourceExhausted, codes.DeadlineExceeded:
		return choice.Failed
	}
	return choice.Answered
}
