package health

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/manifest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
)

func newAuto(t *testing.T, dial Dial) *autoCheck {
	t.Helper()
	check, err := New(manifest.Health{}, dial, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check.Close() })
	return check.(*autoCheck)
}

func newExpecting(t *testing.T, dial Dial) *autoCheck {
	t.Helper()
	check := newAuto(t, dial)
	ExpectGRPC(check)
	return check
}

func TestTheDefaultKindFollowsHowTheServiceSpeaks(t *testing.T) {
	tests := []struct {
		name   string
		handle func(net.Conn)
		want   speech
	}{
		{"HTTP/1", says("HTTP/1.1 400 Bad Request\r\n\r\n"), other},
		{"a line that begins unasked", says("220 mail.example.org ESMTP\r\n"), other},
		{"a short word", says("no\n"), other},
		{"closing at once", func(net.Conn) {}, mute},
		{"an echo", func(conn net.Conn) { _, _ = io.Copy(conn, conn) }, other},
	}
	for _, tt := range tests {
		for name, made := range map[string]func(*testing.T, Dial) *autoCheck{"": newAuto, " where gRPC is expected": newExpecting} {
			t.Run(tt.name+name, func(t *testing.T) {
				ln, dial := listen(t)
				serve(ln, tt.handle)
				check := made(t, dial)
				for range 2 {
					if err := check.Check(within(t, 20*time.Second)); err != nil {
						t.Errorf("unwell: %v", err)
					}
				}
				if check.speech != tt.want {
					t.Errorf("speech %d, want %d: it does not speak HTTP/2", check.speech, tt.want)
				}
			})
		}
	}
}

// says is a service that says one thing and waits for the other end to close: a close of its own may overtake its word.
func says(word string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, word)
		silent(conn)
	}
}

func TestAnHTTP2ServiceThatHangsLaterIsSeen(t *testing.T) {
	ln, dial := listen(t)
	server := grpc.NewServer()
	go func() { _ = server.Serve(ln) }()
	defer server.Stop()
	hung, dialHung := listen(t)
	serve(hung, silent)
	var hangs atomic.Bool
	check := newAuto(t, func(ctx context.Context) (net.Conn, error) {
		if hangs.Load() {
			return dialHung(ctx)
		}
		return dial(ctx)
	})
	if err := check.Check(within(t, 20*time.Second)); err != nil || check.speech != http2 {
		t.Fatalf("speech %d, %v; want HTTP/2", check.speech, err)
	}
	hangs.Store(true) // for whoever is new: the connection of the first check is still answered
	var err error
	for range freshAfter {
		if err = check.Check(within(t, 100*time.Millisecond)); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a service that answers nobody new counts as well")
	}
	if check.Check(within(t, 100*time.Millisecond)) == nil {
		t.Error("after a failure it is asked over the old connection")
	}
}

func TestASilentServiceIsAskedThreeTimesThenEveryTenthTimeAndAnewAfterItWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &late{}
		check := newAuto(t, s.dial)
		asked := func(checks, want int) {
			t.Helper()
			before := s.asked.Load()
			for range checks {
				if err := Once(t.Context(), manifest.Health{}, check); err != nil {
					t.Errorf("unwell: %v", err)
				}
			}
			synctest.Wait()
			if got := s.asked.Load() - before; got != int32(want) {
				t.Errorf("asked %d times in %d checks, want %d", got, checks, want)
			}
		}
		asked(maxSilences, maxSilences)
		asked(askAgain-1, 0)
		asked(1, 1)
		asked(2*askAgain, 2)
		s.set(away)
		if Once(t.Context(), manifest.Health{}, check) == nil {
			t.Error("a service that is away counts as well")
		}
		s.set(deaf)
		asked(maxSilences, maxSilences)
	})
}

func TestAServiceThatListensBeforeItServesIsCheckedAsGRPCOnceItDoes(t *testing.T) {
	for name, before := range map[string]manner{"deaf": deaf, "closing": closing} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newLate(t, before)
				check := newAuto(t, s.dial)
				for range 2 * maxSilences {
					if err := Once(t.Context(), manifest.Health{}, check); err != nil {
						t.Errorf("unwell before it serves: %v", err)
					}
				}
				s.set(serving)
				for range askAgain {
					if err := Once(t.Context(), manifest.Health{}, check); err != nil {
						t.Errorf("unwell when it serves: %v", err)
					}
				}
				wantSeen(t, s, check)
			})
		})
	}
}

func TestWhereGRPCIsExpectedSilenceIsNotWellYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLate(t, deaf)
		check := newExpecting(t, s.dial)
		for range 3 * askAgain {
			if err := Once(t.Context(), manifest.Health{}, check); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a service that is silent: %v", err)
			}
		}
		s.set(serving)
		if err := Once(t.Context(), manifest.Health{}, check); err != nil {
			t.Errorf("unwell when it serves: %v", err)
		}
		wantSeen(t, s, check)
	})
}

// A service that needs more than half of the time for its first answer is well.
func TestWhereGRPCIsExpectedASlowAnswerIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLate(t, deaf)
		check := newExpecting(t, s.dial)
		time.AfterFunc(DefaultTimeout*5/8, func() { s.set(serving) })
		dial := check.grpc.dial
		check.grpc.dial = func(ctx context.Context) (net.Conn, error) {
			time.Sleep(DefaultTimeout / 4)
			return dial(ctx)
		}
		if err := Once(t.Context(), manifest.Health{}, check); err != nil {
			t.Errorf("unwell: %v", err)
		}
	})
}

func TestANamedKindIsCheckedAsItSays(t *testing.T) {
	ln, dial := listen(t)
	serve(ln, silent)
	check, err := New(manifest.Health{Kind: "tcp"}, dial, "")
	if err != nil {
		t.Fatal(err)
	}
	ExpectGRPC(check)
	if err := check.Check(within(t, 20*time.Second)); err != nil {
		t.Errorf("a tcp service that is silent: %v", err)
	}
}

// wantSeen wants check to see what is wrong with a gRPC service that has served so far.
func wantSeen(t *testing.T, s *late, check Check) {
	t.Helper()
	s.health.SetServingStatus("", pb.HealthCheckResponse_NOT_SERVING)
	if err := Once(t.Context(), manifest.Health{}, check); err == nil || !strings.Contains(err.Error(), "NOT_SERVING") {
		t.Errorf("a service that says that it is not well: %v", err)
	}
	s.health.SetServingStatus("", pb.HealthCheckResponse_SERVING)
	s.set(deaf)
	if err := Once(t.Context(), manifest.Health{}, check); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a service that hangs: %v", err)
	}
}

// late is a gRPC service at the other end of pipes that serves when it is told to.
type late struct {
	conns  *bufconn.Listener
	health *health.Server
	asked  atomic.Int32 // connections on which it was sent something while it was deaf

	mu     sync.Mutex
	manner manner
}

// manner is what a late service does with its connections.
type manner int

const (
	deaf manner = iota
	closing
	serving
	away
)

func newLate(t *testing.T, m manner) *late {
	t.Helper()
	s := &late{conns: bufconn.Listen(1 << 16), health: health.NewServer(), manner: m}
	server := grpc.NewServer()
	pb.RegisterHealthServer(server, s.health)
	go func() { _ = server.Serve(s.conns) }()
	t.Cleanup(server.Stop)
	return s
}

func (s *late) set(m manner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manner = m
}

func (s *late) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	near, far := net.Pipe()
	switch s.manner {
	case serving:
		return s.conns.DialContext(ctx)
	case away:
		return nil, errRefused
	case closing:
		far.Close()
	case deaf:
		go func() {
			if n, _ := io.Copy(io.Discard, far); n > 0 {
				s.asked.Add(1)
			}
		}()
	}
	return near, nil
}
