package client

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

func TestNearestCellFileIsUsed(t *testing.T) {
	top := t.TempDir()
	far, near := filepath.Join(top, "a"), filepath.Join(top, "a", "b", "c")
	writeCellFile(t, far, "far", "both")
	writeCellFile(t, near, "both")
	below := filepath.Join(near, "d")
	if err := os.MkdirAll(filepath.Join(below, "Cell.toml"), 0o700); err != nil { // a folder of that name is passed over
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, name, file, problem string }{
		{far, "far", far, ""},
		{filepath.Join(far, "b"), "both", far, ""},
		{near, "both", near, ""},
		{below, "both", near, ""},
		{below, "far", "", "names no cell \"far\" (it names both)"},
		{top, "far", "", "no Cell.toml here or above"},
		{far, "Far", "", "characters other than"},
	} {
		r, err := Resolve(c.dir, c.name)
		switch {
		case c.problem == "" && (err != nil || r.File != filepath.Join(c.file, "Cell.toml") || r.Cell != exchange || r.Name != c.name):
			t.Errorf("%s in %s: %+v, %v", c.name, c.dir, r, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s in %s: %v, want %q", c.name, c.dir, err, c.problem)
		}
	}
}

func TestCellFileOfTheEnvironmentComesLast(t *testing.T) {
	elsewhere, here := t.TempDir(), t.TempDir()
	writeCellFile(t, elsewhere, "exchange")
	t.Setenv("CELL_FILE", filepath.Join(elsewhere, "Cell.toml"))
	r, err := Resolve(here, "exchange")
	if err != nil || r.File != filepath.Join(elsewhere, "Cell.toml") {
		t.Fatalf("got %+v, %v", r, err)
	}
	writeLock(t, elsewhere, "exchange", exchange)
	if r, err = Resolve(here, "exchange"); err != nil || r.Locked == nil || r.Locked.Commit != commit {
		t.Errorf("the lock beside it is not read: %+v, %v", r, err)
	}
	writeCellFile(t, here, "exchange")
	if r, err = Resolve(here, "exchange"); err != nil || r.File != filepath.Join(here, "Cell.toml") {
		t.Errorf("got %+v, %v", r, err)
	}
	t.Setenv("CELL_FILE", filepath.Join(elsewhere, "missing.toml"))
	if _, err := Resolve(t.TempDir(), "exchange"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a CELL_FILE that is not there: %v", err)
	}
}

func TestRepositoryArguments(t *testing.T) {
	acme := manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}
	for _, c := range []struct {
		arg  string
		cell manifest.Cell
		git  string
	}{
		{"cell-hub.acme.com/acme/exchange@v1.3.0", acme, "https://cell-hub.acme.com/acme/exchange"},
		{"https://CELL-HUB.acme.com/acme/exchange.git@v1.3.0", acme, "https://CELL-HUB.acme.com/acme/exchange.git"},
		{"git@cell-hub.acme.com:acme/exchange.git@v1.3.0", acme, "git@cell-hub.acme.com:acme/exchange.git"},
		{"ssh://git@cell-hub.acme.com:22/acme/exchange/@v1.3.0", acme, "ssh://git@cell-hub.acme.com:22/acme/exchange/"},
		{"file:///nonexistent/cells/exchange@v1.3.0", exchange, "file:///nonexistent/cells/exchange"},
		{"/nonexistent/cells/exchange@v1.3.0", exchange, "/nonexistent/cells/exchange"},
	} {
		r, err := Resolve(t.TempDir(), c.arg)
		if err != nil || r.Cell != c.cell || r.Git != c.git || r.Name != "" || r.File != "" {
			t.Errorf("%s: %+v, %v", c.arg, r, err)
		}
	}
	for _, arg := range []string{"cell-hub.acme.com/acme/exchange", "ext::sh -c true@v1", "https://u:p@host/a/b@^1.2", "@v1"} {
		if r, err := Resolve(t.TempDir(), arg); err == nil {
			t.Errorf("%s: taken for %+v", arg, r)
		}
	}
}

func TestLockPinsWhatIsWanted(t *testing.T) {
	dir := t.TempDir()
	writeCellFile(t, dir, "exchange")
	if r, err := Resolve(dir, "exchange"); err != nil || r.Locked != nil || r.request().Commit != "" {
		t.Fatalf("without a lock: %+v, %v", r, err)
	}
	writeLock(t, dir, "other", exchange)
	if r, err := Resolve(dir, "exchange"); err != nil || r.Locked != nil {
		t.Fatalf("with a lock of other cells: %+v, %v", r, err)
	}
	writeLock(t, dir, "exchange", exchange)
	if r, err := Resolve(dir, "exchange"); err != nil || r.request().Commit != commit {
		t.Fatalf("with a lock: %+v, %v", r, err)
	}
	moved := exchange
	moved.Tag = "v1.2.0"
	writeLock(t, dir, "exchange", moved)
	_, err := Resolve(dir, "exchange")
	if err == nil || !strings.Contains(err.Error(), "v1.2.0") || !strings.Contains(err.Error(), "v1.3.0") {
		t.Errorf("a lock of another tag must be refused with both: %v", err)
	}
	write(t, filepath.Join(dir, "Cell.lock"), "version = 1\n[cell.exchange\n")
	if _, err := Resolve(dir, "exchange"); err == nil || !strings.Contains(err.Error(), "Cell.lock:") {
		t.Errorf("a broken lock: %v", err)
	}
	write(t, filepath.Join(dir, "Cell.lock"), strings.Repeat("#", manifest.MaxLockSize+1))
	if _, err := Resolve(dir, "exchange"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a lock without end: %v", err)
	}
}

// That a consumer takes a cell without publishers does not mean that it wants to do without them.
func TestLeaveForAnOpenCellDoesNotOpenASignedOne(t *testing.T) {
	repository, signed := t.TempDir(), newKey(t)
	write(t, filepath.Join(repository, "Cell.toml"), fmt.Sprintf("[package]\nname = \"exchange\"\n\n[trust]\nkeys = [%q]\n", keyText(t, signed)))
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "a"}, {"tag", "v1"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", repository}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	cell, err := manifest.NewCell("file://"+repository, "v1")
	if err != nil {
		t.Fatal(err)
	}
	impostor, dir := serveCell(t, cell, "impostor"), t.TempDir()
	write(t, filepath.Join(dir, "Cell.toml"), fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = \"v1\"\n[cell.exchange.policy]\nallow_open = true\n", "file://"+repository))
	for _, name := range []string{"exchange", "file://" + repository + "@v1"} {
		c := newClient(t, Config{Dir: dir, AllowOpen: true, Only: []string{"seed"}})
		s, err := c.cellFor(within(t), name, false)
		if err != nil {
			t.Fatal(err)
		}
		s.tracker.Found(find.Candidate{Peer: impostor.ID(), Addrs: impostor.Record().Addrs, Way: find.DHT})
		if _, err := s.tracker.Wait(within(t)); !strings.Contains(fmt.Sprint(err), string(record.CodeGrant)) {
			t.Errorf("%s: an instance without a grant is taken: %v", name, err)
		}
	}
}

func TestOpenCellNeedsItsConsumersWord(t *testing.T) {
	i := serve(t, "a")
	dir, closed := consumer(t, i.seed()), t.TempDir()
	write(t, filepath.Join(closed, "Cell.toml"), "[cell.exchange]\ngit = \"file:///nonexistent/cells/exchange\"\ntag = \"v1.3.0\"\n")
	const byRepository = "file:///nonexistent/cells/exchange@v1.3.0"
	for _, c := range []struct {
		dir, name string
		allow     bool
		advice    string // empty: taken
	}{
		{dir, "exchange", false, ""},
		{dir, "exchange", true, ""},
		{closed, "exchange", false, "[cell.exchange.policy]"},
		{closed, "exchange", true, "[cell.exchange.policy]"}, // whoever writes a Cell.toml says it there
		{closed, byRepository, false, "--allow-open"},
		{closed, byRepository, true, ""},
	} {
		_, err := newClient(t, Config{Dir: c.dir, AllowOpen: c.allow, Only: []string{"cache"}}).Dial(within(t), c.name)
		var open *OpenError
		if errors.As(err, &open) != (c.advice != "") || c.advice != "" && !strings.Contains(err.Error(), c.advice) {
			t.Errorf("%s in %s, AllowOpen %v: %v", c.name, c.dir, c.allow, err)
		}
	}
}
