package cellgrpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cellnode/cellnode/internal/choice"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	os.Setenv("CELL_DAEMON", "off")
	if known, ok := os.LookupEnv(instanceEnv); ok {
		if err := runInstance(known); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// limit is ample for anything that ought to happen at once.
const limit = 20 * time.Second

// instance answers health checks, as it is told.
type instance struct {
	healthpb.UnimplementedHealthServer
	check func(ctx context.Context) error // nil answers at once

	server *grpc.Server
}

func (i *instance) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if i.check != nil {
		if err := i.check(ctx); err != nil {
			return nil, err
		}
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// cell is a cell whose members a test names; it is what finding is to a connection.
type cell struct {
	t   testing.TB
	set *choice.Set

	mu        sync.Mutex
	members   []choice.Member
	instances map[string]*bufconn.Listener
	err       error         // why none is known
	changed   chan struct{} // closed and replaced by update
	opened    map[string]int
}

func newCell(t testing.TB) *cell {
	return &cell{t: t, set: choice.New(1), instances: map[string]*bufconn.Listener{}, opened: map[string]int{}, changed: make(chan struct{})}
}

// add starts an instance at a distance.
func (c *cell) add(rtt time.Duration, i *instance) string {
	c.t.Helper()
	i.server = grpc.NewServer()
	healthpb.RegisterHealthServer(i.server, i)
	return c.addServer(rtt, i.server)
}

func (c *cell) addServer(rtt time.Duration, s *grpc.Server) string {
	c.t.Helper()
	ln := bufconn.Listen(1 << 16)
	go s.Serve(ln)
	c.t.Cleanup(s.Stop)
	c.mu.Lock()
	id := fmt.Sprintf("instance-%d", len(c.instances))
	c.instances[id] = ln
	c.members = append(c.members, choice.Member{ID: id, RTT: rtt})
	c.mu.Unlock()
	c.update(nil)
	return id
}

// update changes the list of members and pushes it.
func (c *cell) update(change func([]choice.Member) []choice.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change != nil {
		c.members = change(c.members)
	}
	c.set.Update(c.members, time.Now())
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cell) Choice(context.Context, string) (chooser, error) { return c, nil }

func (c *cell) Next(ctx context.Context, seen uint64) ([]*choice.Instance, uint64, error) {
	for {
		c.mu.Lock()
		err := c.err
		c.mu.Unlock()
		kept, version := c.set.Version()
		switch {
		case version != seen:
			return kept, version, nil
		case len(kept) == 0 && err != nil:
			return nil, version, err
		}
		if err := c.Changed(ctx, seen); err != nil {
			return nil, version, err
		}
	}
}

func (c *cell) Changed(ctx context.Context, seen uint64) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if _, version := c.set.Version(); version != seen {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *cell) Open(ctx context.Context, i *choice.Instance) (net.Conn, error) {
	c.mu.Lock()
	at := c.instances[i.ID]
	c.opened[i.ID]++
	c.mu.Unlock()
	return at.DialContext(ctx)
}

// connect returns a connection to the cell.
func (c *cell) connect(opts ...grpc.DialOption) *grpc.ClientConn {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cc, err := dial(ctx, c, "cell:///exchange", opts)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cc.Close() })
	return cc
}

// check makes one call.
func check(ctx context.Context, cc *grpc.ClientConn) error {
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("not so: %s", what)
		}
	}
}
