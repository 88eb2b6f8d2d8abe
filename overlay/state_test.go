package overlay

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/record"
)

// during calls f while a line with this text is logged.
type during struct {
	slog.Handler
	text string
	f    func()
}

func (d during) Enabled(context.Context, slog.Level) bool { return true }

func (d during) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, d.text) && d.f != nil {
		d.f()
	}
	return nil
}

func (d during) WithAttrs([]slog.Attr) slog.Handler { return d }

func TestADrainDuringAChangeOfHealthHolds(t *testing.T) {
	var i *Instance
	drained := false
	n, err := New(t.Context(), Config{Key: newKey(t), Listen: loopback, Log: slog.New(during{slog.DiscardHandler, "state changed", func() {
		if !drained {
			drained = true
			if err := i.Drain(false); err != nil {
				t.Error(err)
			}
		}
	}})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	i = serveEcho(t, n, "a")
	if err := i.SetState(record.Unhealthy); err != nil {
		t.Fatal(err)
	}
	if !drained || i.State() != record.Draining || i.Record().State != record.Draining {
		t.Errorf("it is %s, and its record says %s", i.State(), i.Record().State)
	}
	if err := i.Drain(true); err != nil || i.State() != record.Unhealthy {
		t.Errorf("after the drain it is %s: %v", i.State(), err)
	}
}

func TestAnInstanceWhoseGrantHasEndedIsNotReady(t *testing.T) {
	n := newNode(t)
	i := serveEcho(t, n, "a")
	if err := i.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask := func() (code int, body string) {
		w := httptest.NewRecorder()
		daemon.Handler(n.API(), nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return w.Code, w.Body.String()
	}
	if code, body := ask(); code != http.StatusOK || len(n.Notes()) > 0 {
		t.Fatalf("before: %d %s %q", code, body, n.Notes())
	}
	i.mu.Lock()
	i.grant = &record.Grants{Chain: []record.Grant{{NotAfter: time.Now().Add(-time.Second)}}}
	i.mu.Unlock()
	code, body := ask()
	notes := strings.Join(n.Notes(), "\n")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "the grant for") || !strings.Contains(notes, "cellnode grant --cell") {
		t.Errorf("after its end: %d %s; notes: %s", code, body, notes)
	}
}
