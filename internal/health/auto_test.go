package health

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/manifest"
	"google.golang.org/grpc"
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

func TestTheDefaultKindFollowsHowTheServiceSpeaks(t *testing.T) {
	tests := []struct {
		name   string
		handle func(net.Conn)
	}{
		{"HTTP/1", func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			}
		}},
		{"a line that begins unasked", func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example.org ESMTP\r\n") }},
		{"a short word", func(conn net.Conn) { _, _ = io.WriteString(conn, "no\n") }},
		{"closing at once", func(net.Conn) {}},
		{"an echo", func(conn net.Conn) { _, _ = io.Copy(conn, conn) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, dial := listen(t)
			serve(ln, tt.handle)
			check := newAuto(t, dial)
			for range 2 {
				if err := check.Check(within(t, 20*time.Second)); err != nil {
					t.Errorf("unwell: %v", err)
				}
			}
			if check.speech != other {
				t.Error("it was not taken for a service that does not speak HTTP/2")
			}
		})
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

func TestASilentServiceIsAskedThreeTimesAndAnewAfterItWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		away := false
		check := newAuto(t, func(context.Context) (net.Conn, error) {
			if away {
				return nil, errRefused
			}
			near, far := net.Pipe()
			go func() {
				n, _ := io.Copy(io.Discard, far)
				if n > 0 {
					asked.Add(1)
				}
			}()
			return near, nil
		})
		h := manifest.Health{}
		for range 5 {
			if err := Once(t.Context(), h, check); err != nil {
				t.Errorf("unwell: %v", err)
			}
		}
		synctest.Wait()
		if asked.Load() != maxSilences || check.speech != other {
			t.Errorf("asked %d times, want %d", asked.Load(), maxSilences)
		}
		away = true
		if Once(t.Context(), h, check) == nil {
			t.Error("a service that is away counts as well")
		}
		away = false
		if err := Once(t.Context(), h, check); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if asked.Load() != maxSilences+1 {
			t.Error("it was not asked anew after it was away")
		}
	})
}
