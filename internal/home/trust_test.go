package home

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeTrust takes numbers as documents, newer ones only.
type fakeTrust struct {
	mu      sync.Mutex
	version uint64
	f       func()
}

func (t *fakeTrust) ID() string { return "abcd" }

func (t *fakeTrust) Version() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

func (t *fakeTrust) Chain() []byte { return []byte(strconv.FormatUint(t.Version(), 10)) }

func (t *fakeTrust) Take(document []byte, _ time.Time) (bool, error) {
	n, err := strconv.ParseUint(string(document), 10, 64)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	newer := n > t.version
	if n < t.version {
		err = errors.New("older")
	}
	t.version = max(n, t.version)
	f := t.f
	t.mu.Unlock()
	if newer && f != nil {
		f()
	}
	return newer, err
}

func (t *fakeTrust) OnChange(f func()) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.f = f
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.f = nil
	}
}

func takeTrust(t *testing.T, trust *fakeTrust, version string) {
	t.Helper()
	if _, err := trust.Take([]byte(version), time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestTrustOutlivesTheProcess(t *testing.T) {
	d := open(t)
	first := new(fakeTrust)
	stop := d.KeepTrust(first, slog.New(slog.DiscardHandler))
	takeTrust(t, first, "3")
	takeTrust(t, first, "12")
	stop()
	takeTrust(t, first, "13") // nobody keeps it any more
	second := &fakeTrust{}
	d.KeepTrust(second, slog.New(slog.DiscardHandler))()
	if second.Version() != 12 {
		t.Errorf("version %d after a restart, want 12", second.Version())
	}
	if files, err := os.ReadDir(d.Path("trust")); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: want one file", files, err)
	}
	// A process that knows a newer one than the disk puts it there.
	third := &fakeTrust{version: 20}
	d.KeepTrust(third, slog.New(slog.DiscardHandler))()
	fourth := new(fakeTrust)
	d.KeepTrust(fourth, slog.New(slog.DiscardHandler))()
	if fourth.Version() != 20 {
		t.Errorf("version %d, want 20", fourth.Version())
	}
}

func TestDamagedTrustIsMovedAside(t *testing.T) {
	d := open(t)
	if _, err := d.Sub("trust"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"abcd-7": "rubbish", "abcd-9": strings.Repeat("1", maxTrustFile+1), "abcd-5": "5", "ef-99": "99"} {
		if err := os.WriteFile(d.Path("trust", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	trust := new(fakeTrust)
	d.KeepTrust(trust, slog.New(slog.NewTextHandler(&said, nil)))()
	if trust.Version() != 5 {
		t.Errorf("version %d, want 5", trust.Version())
	}
	bad, err := filepath.Glob(d.Path("trust", "*.bad"))
	if err != nil || len(bad) != 2 || strings.Count(said.String(), "moved aside") != 2 {
		t.Errorf("aside: %v, %v; said %q", bad, err, said.String())
	}
}
