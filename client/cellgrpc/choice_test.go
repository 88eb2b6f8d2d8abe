package cellgrpc

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The choice test: five instances, four of which answer after so long and one that fails at once, and 16 callers that each
// make one call after the other.
var distances = []time.Duration{2 * time.Millisecond, 3 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond}

const choiceCallers = 16

// contest is the cell of the choice test.
type contest struct {
	*cell
	mu     sync.Mutex
	served map[string]int // calls that each instance answered
}

func newContest(t testing.TB) *contest {
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	c := &contest{cell: newCell(t), served: map[string]int{}}
	for _, d := range distances {
		c.addServer(d, grpc.NewServer(grpc.UnknownServiceHandler(func(x any, s grpc.ServerStream) error {
			c.count(d.String())
			select {
			case <-time.After(d):
			case <-s.Context().Done():
				return s.Context().Err()
			}
			return answers(x, s)
		})))
	}
	c.addServer(time.Millisecond, grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		c.count("failing")
		return status.Error(codes.Unavailable, "out of order")
	})))
	return c
}

func (c *contest) count(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served[name]++
}

// taken returns what was counted since the last time.
func (c *contest) taken() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.served
	c.served = map[string]int{}
	return out
}

// by returns a connection by one of gRPC's own policies, with the same instances and retries.
func (c *contest) by(policy string) *grpc.ClientConn {
	c.t.Helper()
	r := manual.NewBuilderWithScheme("contest")
	var s resolver.State
	for id := range c.instances {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: id}}})
	}
	r.InitialState(s)
	cc, err := grpc.NewClient("contest:///exchange", grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, id string) (net.Conn, error) { return c.instances[id].DialContext(ctx) }),
		grpc.WithDefaultServiceConfig(repeatAsk[:len(repeatAsk)-1]+fmt.Sprintf(`,"loadBalancingConfig":[{%q:{}}]}`, policy)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cc.Close() })
	return cc
}

// result is what callers have seen.
type result struct {
	took   []time.Duration // of each call that was answered, sorted
	failed int
}

func (r result) quantile(share float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[int(share*float64(len(r.took)-1))]
}

// round has the callers call until more says stop.
func round(cc *grpc.ClientConn, more func(calls int) bool) (r result) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	calls := 0
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return more(calls)
	}
	for range choiceCallers {
		wg.Go(func() {
			for next() {
				began := time.Now()
				var reply wrapperspb.StringValue
				err := cc.Invoke(context.Background(), askMethod, wrapperspb.String("x"), &reply)
				mu.Lock()
				if err != nil {
					r.failed++
				} else {
					r.took = append(r.took, time.Since(began))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(r.took)
	return r
}

func TestChoiceFailsNoCallAndStaysNear(t *testing.T) {
	const calls = 3000
	c := newContest(t)
	cc := c.connect(grpc.WithDefaultServiceConfig(repeatAsk))
	both(t, c.cell)
	r := round(cc, func(n int) bool { return n <= calls })
	taken := c.taken()
	t.Logf("taken by each: %v", taken)
	if r.failed > 0 {
		t.Errorf("%d calls failed", r.failed)
	}
	if near := taken["2ms"] + taken["3ms"]; near < calls*9/10 {
		t.Errorf("%d of %d calls went to the two nearest", near, calls)
	}
	if taken["failing"] > calls/50 {
		t.Errorf("the failing instance was asked %d times", taken["failing"])
	}
}

// BenchmarkChoice plays the choice test beside gRPC's own policies, in turns of a second, and reports the medians over the
// turns: of calls per second and of the 99th percentile against round_robin.
func BenchmarkChoice(b *testing.B) {
	c := newContest(b)
	policies := []string{Policy, roundrobin.Name, leastrequest.Name}
	conns := []*grpc.ClientConn{c.connect(grpc.WithDefaultServiceConfig(repeatAsk)), c.by(roundrobin.Name), c.by(leastrequest.Name)}
	turn := func(cc *grpc.ClientConn, d time.Duration) result {
		end := time.Now().Add(d)
		return round(cc, func(int) bool { return time.Now().Before(end) })
	}
	for _, cc := range conns {
		turn(cc, 200*time.Millisecond) // connections stand
	}
	c.taken()
	sums := make([]map[string]int, len(conns))
	var throughput, p99, near []float64
	for b.Loop() {
		var rs []result
		for n, cc := range conns {
			r := turn(cc, time.Second)
			rs = append(rs, r)
			taken := c.taken()
			sums[n] = add(sums[n], taken, len(r.took), r.failed)
			if n == 0 {
				near = append(near, float64(taken["2ms"]+taken["3ms"])/float64(total(taken)))
			}
			b.Logf("%-26s %5d ok %4d failed  p50 %-8s p99 %-8s %v", policies[n], len(r.took), r.failed,
				r.quantile(0.5).Round(10*time.Microsecond), r.quantile(0.99).Round(100*time.Microsecond), taken)
		}
		throughput = append(throughput, float64(len(rs[0].took))/float64(len(rs[1].took)))
		p99 = append(p99, float64(rs[0].quantile(0.99))/float64(rs[1].quantile(0.99)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sums[0]["failed"]), "failed")
	b.ReportMetric(float64(sums[1]["failed"]), "failed-rr")
	b.ReportMetric(float64(sums[2]["failed"]), "failed-lr")
	b.ReportMetric(median(throughput), "×rr-calls/s")
	b.ReportMetric(median(p99), "×rr-p99")
	b.ReportMetric(100*median(near), "%near")
}

func add(sum, taken map[string]int, ok, failed int) map[string]int {
	if sum == nil {
		sum = map[string]int{}
	}
	for name, n := range taken {
		sum[name] += n
	}
	sum["ok"] += ok
	sum["failed"] += failed
	return sum
}

func total(taken map[string]int) (n int) {
	for _, k := range taken {
		n += k
	}
	return n
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
