package home

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/internal/record"
)

// fakeTrust takes numbers as documents, newer ones only.
type fakeTrust struct {
	mu      sync.Mutex
	version uint64
	f       func()
	fails   error                 // of Take, whatever it is given
	taking  func(document string) // before Take; may be nil
}

func (t *fakeTrust) ID() string { return "abcd" }

func (t *fakeTrust) Version() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

func (t *fakeTrust) Chain() []byte { return []byte(strconv.FormatUint(t.Version(), 10)) }

func (t *fakeTrust) Take(document []byte, _ time.Time) (bool, error) {
	if t.taking != nil {
		t.taking(string(document))
	}
	n, err := strconv.ParseUint(string(document), 10, 64)
	if err != nil {
		return false, &record.Refusal{Code: record.CodeTrust, Detail: err.Error()}
	}
	t.mu.Lock()
	if t.fails != nil {
		defer t.mu.Unlock()
		return false, t.fails
	}
	newer := n > t.version
	if n < t.version {
		err = &record.Refusal{Code: record.CodeReplay, Detail: "older"}
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
	var said bytes.Buffer
	third := &fakeTrust{version: 20}
	d.KeepTrust(third, slog.New(slog.NewTextHandler(&said, nil)))()
	if said.Len() > 0 {
		t.Errorf("of an older one on disk: said %q", &said)
	}
	fourth := new(fakeTrust)
	d.KeepTrust(fourth, slog.New(slog.DiscardHandler))()
	if fourth.Version() != 20 {
		t.Errorf("version %d, want 20", fourth.Version())
	}
}

// putTrust writes documents below trust/, by their file names.
func putTrust(t *testing.T, d *Dir, files map[string]string) {
	t.Helper()
	if _, err := d.Sub("trust"); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(d.Path("trust", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedTrustIsMovedAside(t *testing.T) {
	d := open(t)
	putTrust(t, d, map[string]string{"abcd-7": "rubbish", "abcd-9": strings.Repeat("1", maxTrustFile+1), "abcd-5": "5", "ef-99": "99"})
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

// A fault that may be gone the next time is no damage: the document stays where it is, and counts as soon as it can be read.
func TestTrustThatCannotBeReadNowIsLeft(t *testing.T) {
	for _, c := range []struct {
		name      string
		fails     error
		directory bool // stands in the document's place
	}{
		{name: "the clock is behind", fails: &record.Refusal{Code: record.CodeFuture}},
		{name: "replayed", fails: &record.Refusal{Code: record.CodeReplay}},
		{name: "a limit of the system", fails: &os.PathError{Op: "open", Path: "abcd-9", Err: syscall.EMFILE}},
		{name: "not a file", directory: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t)
			putTrust(t, d, map[string]string{"abcd-9": "9"})
			path := d.Path("trust", "abcd-9")
			if c.directory {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				trust := &fakeTrust{fails: c.fails}
				stop := d.KeepTrust(trust, slog.New(slog.NewTextHandler(&said, nil)))
				defer stop()
				time.Sleep(3 * rereadTrust)
				synctest.Wait()
				if _, err := os.Lstat(path); err != nil || trust.Version() != 0 {
					t.Errorf("version %d, file: %v", trust.Version(), err)
				}
				if n := strings.Count(said.String(), "abcd-9 cannot be read now"); n != 1 || strings.Contains(said.String(), "damaged") {
					t.Errorf("said %d times:\n%s", n, &said)
				}
				trust.mu.Lock()
				trust.fails = nil
				trust.mu.Unlock()
				if c.directory {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					putTrust(t, d, map[string]string{"abcd-9": "9"})
				}
				time.Sleep(rereadTrust)
				synctest.Wait()
				if trust.Version() != 9 {
					t.Errorf("version %d afterwards, want 9", trust.Version())
				}
			})
		})
	}
}

// Nor is a folder that cannot be listed one without documents.
func TestTrustThatCannotBeListedIsSaid(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file in the folder's place is a missing folder there")
	}
	d := open(t)
	if err := os.WriteFile(d.Path("trust"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	d.KeepTrust(new(fakeTrust), slog.New(slog.NewTextHandler(&said, nil)))()
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &said)
	}
}

// While one document is looked at, another process may put a newer one in the place of the next.
func TestTrustThatIsReplacedMeanwhileIsListedAgain(t *testing.T) {
	d := open(t)
	putTrust(t, d, map[string]string{"abcd-9": "rubbish", "abcd-5": "5"})
	trust := new(fakeTrust)
	trust.taking = func(document string) {
		if document == "rubbish" {
			putTrust(t, d, map[string]string{"abcd-6": "6"})
			if err := os.Remove(d.Path("trust", "abcd-5")); err != nil {
				t.Error(err)
			}
		}
	}
	var said bytes.Buffer
	d.KeepTrust(trust, slog.New(slog.NewTextHandler(&said, nil)))()
	if trust.Version() != 6 || strings.Contains(said.String(), "cannot be read") {
		t.Errorf("version %d, want 6; said %q", trust.Version(), &said)
	}
	if bad, err := filepath.Glob(d.Path("trust", "*.bad")); err != nil || len(bad) != 1 {
		t.Errorf("aside: %v, %v", bad, err)
	}
}
