package cellgrpc

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cellnode/cellnode/manifest"
)

// startNodes starts instances that know each other.
func startNodes(t testing.TB, n int, handle grpc.StreamHandler) (nodes []*node, seeds []manifest.Seed) {
	t.Helper()
	for range n {
		i := startNode(t, handle, seeds)
		nodes, seeds = append(nodes, i), append(seeds, i.seed())
	}
	return nodes, seeds
}

func startNode(t testing.TB, handle grpc.StreamHandler, known []manifest.Seed) *node {
	t.Helper()
	i, err := serve(handle, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.close() })
	return i
}

func TestARollingRestartFailsNoCall(t *testing.T) {
	nodes, seeds := startNodes(t, 5, answers)
	c := startCallers(dialCell(t, seeds), 64, buyMethod) // gRPC may not repeat these
	c.more(t, 500)
	for n, old := range nodes {
		if err := old.leave(within(t)); err != nil {
			t.Log(err)
		}
		c.more(t, 200)
		nodes[n] = startNode(t, answers, seeds)
		seeds[n] = nodes[n].seed()
		eventually(t, "the newcomer has met the others", func() bool { return len(nodes[n].instance.Seeds()) > 1 })
		c.more(t, 200)
	}
	calls, failed := c.stop()
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed, the first with: %v", len(failed), calls, failed[0])
	}
	t.Logf("%d calls", calls)
}

func TestTwoOfFiveKilledCostOnlyCallsThatWereOnTheirWay(t *testing.T) {
	var seeds []manifest.Seed
	var kill []func() error
	for range 5 {
		p, seed := startProcess(t, seeds...)
		seeds, kill = append(seeds, seed), append(kill, p.Kill)
	}
	const callersEach = 32
	cc := dialCell(t, seeds, grpc.WithDefaultServiceConfig(repeatAsk))
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	asking, buying := startCallers(cc, callersEach, askMethod), startCallers(cc, callersEach, buyMethod)
	buying.more(t, 500)
	for _, k := range kill[:2] {
		if err := k(); err != nil {
			t.Fatal(err)
		}
		buying.more(t, 500)
		asking.more(t, 500)
	}
	asked, lost := asking.stop()
	if len(lost) > 0 {
		t.Errorf("%d of %d calls that may be repeated failed, the first with: %v", len(lost), asked, lost[0])
	}
	bought, lost := buying.stop()
	if len(lost) > 2*callersEach {
		t.Errorf("%d of %d calls failed: more than can have been on their way", len(lost), bought)
	}
	for _, err := range lost {
		if status.Code(err) != codes.Unavailable {
			t.Errorf("a lost call says %v", err)
		}
	}
	t.Logf("%d and %d calls, of which %d were lost", asked, bought, len(lost))
}

const repeatAsk = `{"methodConfig":[{"name":[{"service":"cellgrpc.test.Hedge","method":"Ask"}],"waitForReady":true,"retryPolicy":{` +
	`"maxAttempts":4,"initialBackoff":"0.05s","maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

func TestANewInstanceTakesCallsSoonAfterItServes(t *testing.T) {
	_, seeds := startNodes(t, 1, answers)
	c := startCallers(dialCell(t, seeds), 8, buyMethod)
	c.more(t, 100)
	taken := make(chan struct{}, 1)
	startNode(t, func(x any, s grpc.ServerStream) error {
		select {
		case taken <- struct{}{}:
		default:
		}
		return answers(x, s)
	}, seeds)
	select {
	case <-taken:
	case <-within(t).Done():
		t.Error("the newcomer takes no calls")
	}
	if _, failed := c.stop(); len(failed) > 0 {
		t.Error(failed[0])
	}
}
