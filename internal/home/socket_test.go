package home

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deep returns a home directory whose own path is too long for sockets.
func deep(t *testing.T) *Dir {
	t.Helper()
	d, err := At(filepath.Join(t.TempDir(), strings.Repeat("d", 90), "cell"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestShortSocketPathsLieInRun(t *testing.T) {
	d, err := At(filepath.Join(shortTemp(t), "cell"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.SocketPath("exchange.sock"); err != nil || got != d.Path("run", "exchange.sock") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := os.Stat(d.Path("run")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("asking for a path has made run (%v)", err)
	}
	ln, err := d.Listen("exchange.sock")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := os.Chmod(d.Path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := d.SocketPath("exchange.sock"); err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("run is open to others: %v", err)
	}
}

func TestRemoveSocketsLeavesNothingOutsideTheHome(t *testing.T) {
	outside := shortTemp(t)
	t.Setenv("XDG_RUNTIME_DIR", outside)
	d := deep(t)
	ln, err := d.Listen("exchange.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 2 {
		if err := d.RemoveSockets(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	if err := os.WriteFile(d.Path("run", "sockets"), []byte(outside+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveSockets(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a directory that is not ours is gone: %v", err)
	}
}

func TestLongSocketPathsMoveAndAreFoundAgain(t *testing.T) {
	runtimeDir, temp := shortTemp(t), shortTemp(t)
	t.Setenv("TMPDIR", temp)
	for _, tt := range []struct{ name, runtimeDir, below string }{
		{"to XDG_RUNTIME_DIR", runtimeDir, runtimeDir},
		{"to the temporary directory", "", temp},
		{"not to a runtime directory that is gone", "/nowhere", temp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := deep(t)
			t.Setenv("XDG_RUNTIME_DIR", tt.runtimeDir)
			path, err := d.SocketPath("exchange.sock")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(path, tt.below+string(filepath.Separator)) || len(path) > maxSocketPath {
				t.Errorf("socket %s, want one below %s", path, tt.below)
			}
			t.Setenv("XDG_RUNTIME_DIR", filepath.Join(temp, "another"))
			if again, err := d.SocketPath("exchange.sock"); err != nil || again != path {
				t.Errorf("with another environment: %s, %v; want %s", again, err, path)
			}
			if other, err := deep(t).SocketPath("exchange.sock"); err != nil || other == path {
				t.Errorf("two homes share %s (%v)", other, err)
			}
		})
	}
}

func TestLongSocketNamesAreHashed(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", shortTemp(t))
	d := deep(t)
	long := strings.Repeat("x", 90)
	a, err := d.SocketPath(long + "1.sock")
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.SocketPath(long + "2.sock")
	if err != nil {
		t.Fatal(err)
	}
	if a == b || len(a) > maxSocketPath {
		t.Errorf("sockets %s and %s", a, b)
	}
}

func TestSocketNamesCannotLeaveRun(t *testing.T) {
	for _, base := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00b"} {
		if path, err := open(t).SocketPath(base); err == nil {
			t.Errorf("SocketPath(%q) = %s", base, path)
		}
	}
}

func TestListenIsForOneAndClosedToOthers(t *testing.T) {
	d := open(t)
	ln, err := d.Listen("cellnode.sock")
	if err != nil {
		t.Fatal(err)
	}
	path := ln.Addr().String()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if hasModes && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o, want 0600", info.Mode().Perm())
	}
	_, err = d.Listen("cellnode.sock")
	if !errors.Is(err, ErrHeld) {
		t.Errorf("a second listener: %v, want ErrHeld", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
	if ln, err = d.Listen("cellnode.sock"); err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

func TestBothEndsSeeTheSameUser(t *testing.T) {
	ln, err := open(t).Listen("cellnode.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for _, conn := range []net.Conn{dialled, accepted} {
		if err := SameUser(conn); err != nil {
			t.Error(err)
		}
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if SameUser(a) == nil {
		t.Error("a pipe was taken for a socket")
	}
}
