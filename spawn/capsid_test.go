//go:build unix

package spawn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

const patience = 30 * time.Second

// libraries are what the test binary may be linked to.
var libraries = []string{"/lib", "/lib64", "/usr/lib"}

// service is a configuration that runs the test binary as a service of that kind.
func service(t testing.TB, mode string) CapsidConfig {
	t.Helper()
	if !sandbox.Probe().Enough() {
		t.Skipf("no sandbox here: %s", sandbox.Probe().WallsErr)
	}
	root, err := os.MkdirTemp("", "c") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	dir, err := home.At(root)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := OpenCache(dir.Path("cache"))
	if err != nil {
		t.Fatal(err)
	}
	return serviceAt(t, dir, cache, install(t, cache), mode)
}

// serviceAt is that configuration with a binary that is in the cache.
func serviceAt(t testing.TB, dir *home.Dir, cache *Cache, a Artifact, mode string) CapsidConfig {
	t.Helper()
	cell, err := manifest.NewCell("https://git.example.org/acme/exchange", "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	return CapsidConfig{
		Home: dir, Cache: cache, Artifact: a, Cell: cell,
		File: &manifest.File{
			Package: &manifest.Package{Name: "exchange"},
			Run:     manifest.Run{Env: map[string]string{serviceMode: mode}},
			Sandbox: manifest.Sandbox{Read: libraries},
		},
	}
}

// install puts the test binary into the cache.
func install(t testing.TB, cache *Cache) Artifact {
	t.Helper()
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	file, err := os.Create(cache.path("tmp", "binary"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(file, own); err != nil {
		t.Fatal(err)
	}
	a, err := cache.publish(file, Artifact{Key: strings.Repeat("a", 64), Commit: strings.Repeat("b", 40)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func begin(t *testing.T, cfg CapsidConfig) *Capsid {
	t.Helper()
	c, err := StartCapsid(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// call is a connection to a service, as a client opens it.
func call(t *testing.T, c *Capsid) net.Conn {
	t.Helper()
	network, address, _ := strings.Cut(c.Info().Socket, ":")
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func ask(t *testing.T, conn net.Conn, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSpace(answer)
}

func logged(t *testing.T, c *Capsid) string {
	t.Helper()
	data, err := os.ReadFile(c.Info().Spawned.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// clean says that nothing of a service is left in the home directory but its log.
func clean(t *testing.T, cfg CapsidConfig) {
	t.Helper()
	list, err := os.ReadDir(cfg.Home.Path("run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) != ".lock" {
			t.Errorf("run/%s is left", e.Name())
		}
	}
}

func TestAServiceIsReadyReachableAndGone(t *testing.T) {
	cfg := service(t, "serves")
	c := begin(t, cfg)
	if answer := ask(t, call(t, c), "hello"); answer != "hello" {
		t.Errorf("it says %q", answer)
	}
	running, err := cfg.Home.Running()
	if err != nil || len(running) != 1 || running[0].Socket != "unix:"+cfg.Home.Path("run", "exchange.sock") ||
		running[0].Spawned.State != StateReady || running[0].Cell != "git.example.org/acme/exchange@v1.0.0" {
		t.Errorf("the home directory says %+v, %v", running, err)
	}
	info, err := os.Stat(cfg.Home.Path("run", "exchange.sock"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may use the socket: %v, %v", info.Mode(), err)
	}
	if text := logged(t, c); !strings.Contains(text, "arguments: --membrane\nname: exchange\n") {
		t.Errorf("its log is %q", text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Stop(ctx); err != nil || c.Err() != nil {
		t.Error(err, c.Err())
	}
	clean(t, cfg)
}

func TestArgumentsOfTheCellReplaceTheMembraneFlag(t *testing.T) {
	cfg := service(t, "serves")
	cfg.File.Run.Args = []string{"-a", "b"}
	if text := logged(t, begin(t, cfg)); !strings.Contains(text, "arguments: -a b\n") {
		t.Errorf("its log is %q", text)
	}
}

func TestAServiceOnAPort(t *testing.T) {
	if l := sandbox.Probe(); l.Landlock < 4 {
		t.Skip("needs Landlock 4")
	}
	cfg := service(t, "serves")
	cfg.File.Run.Listen = "tcp"
	if answer := ask(t, call(t, begin(t, cfg)), "hello"); answer != "hello" {
		t.Errorf("it says %q", answer)
	}
}

func TestReadinessIsToldOnDescriptor3(t *testing.T) {
	cfg := service(t, "tells")
	cfg.File.Health = manifest.Health{Kind: "http"} // which it does not speak
	cfg.ReadyTimeout = patience
	begin(t, cfg)
}

func TestWhatDoesNotComeToServeIsAnError(t *testing.T) {
	for mode, want := range map[string]string{
		"dies":   "exit code 3; last it wrote: \"arguments: --membrane\\nname: exchange\\nno configuration\"",
		"silent": "it does not answer on the socket that it finds in CELL_SOCKET within 300ms",
	} {
		cfg := service(t, mode)
		if mode == "silent" {
			cfg.ReadyTimeout = 300 * time.Millisecond
		}
		_, err := StartCapsid(t.Context(), cfg)
		var notReady *NotReadyError
		if !errors.As(err, &notReady) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", mode, err, want)
		}
		clean(t, cfg)
	}
}

func TestADamagedBinaryDoesNotRun(t *testing.T) {
	cfg := service(t, "serves")
	if err := errors.Join(os.Chmod(cfg.Artifact.Path, 0o700), os.Truncate(cfg.Artifact.Path, 100)); err != nil {
		t.Fatal(err)
	}
	_, err := StartCapsid(t.Context(), cfg)
	var damaged *DamagedError
	if !errors.As(err, &damaged) {
		t.Errorf("got %v", err)
	}
	clean(t, cfg)
}

func TestAServiceThatCrashesIsStartedAgain(t *testing.T) {
	cfg := service(t, "serves")
	c := begin(t, cfg)
	if _, err := fmt.Fprintln(call(t, c), "crash"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready again", func() bool {
		s := c.Info().Spawned
		return s.Restarts == 1 && s.State == StateReady
	})
	if answer := ask(t, call(t, c), "hello"); answer != "hello" {
		t.Errorf("it says %q", answer)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestRestartsBackOffAndGiveUp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(0, 0)
	var b backoff
	for n := range maxRestarts {
		wait, ok := b.ended(now, now, random)
		middle := firstBackoff << n
		if low, high := time.Duration(float64(middle)*(1-jitter)), time.Duration(float64(middle)*(1+jitter)); !ok || wait < low || wait > high {
			t.Errorf("wait %d is %v, %v; want %v to %v", n, wait, ok, low, high)
		}
		now = now.Add(time.Second)
	}
	if _, ok := b.ended(now, now, random); ok {
		t.Error("it does not give up")
	}
	if _, ok := b.ended(now.Add(-healthyAfter), now, random); !ok {
		t.Error("a service that was well for long does not begin anew")
	}
}

func TestStoppingTakesTheWholeTree(t *testing.T) {
	for _, mode := range []string{"serves", "deaf"} {
		cfg := service(t, mode)
		cfg.Grace = 200 * time.Millisecond
		c := begin(t, cfg)
		conn := call(t, c)
		if answer := ask(t, conn, "child"); answer != "<nil>" {
			t.Fatal(answer)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("%s: a process lives: %v", mode, err)
		}
		clean(t, cfg)
	}
}

func TestAnIdleServiceEnds(t *testing.T) {
	cfg := service(t, "serves")
	cfg.IdleExit = 300 * time.Millisecond
	c := begin(t, cfg)
	conn := call(t, c)
	ask(t, conn, "hello")
	select {
	case <-c.Done():
		t.Fatal("it ended while somebody was connected")
	case <-time.After(3 * cfg.IdleExit):
	}
	conn.Close()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
	clean(t, cfg)
}

func TestNothingIsOrphanedByKill9(t *testing.T) {
	cfg := service(t, "serves")
	owner := startOwner(t, cfg)
	defer owner.Wait()
	defer owner.Process.Kill()
	path := cfg.Home.Path("run", "exchange.sock")
	var conn net.Conn
	eventually(t, "the service serves", func() (ok bool) {
		c, err := net.Dial("unix", path)
		conn = c
		return err == nil
	})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if answer := ask(t, conn, "child"); answer != "<nil>" {
		t.Fatal(answer)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a process lives: %v", err)
	}
	_ = owner.Wait()
	begin(t, cfg) // and the next one starts
}

// startOwner starts a process that starts and owns the service.
func startOwner(t *testing.T, cfg CapsidConfig) *exec.Cmd {
	t.Helper()
	owner := exec.Command("/proc/self/exe", "-test.run=^TestOwner$")
	owner.Env = append(os.Environ(), "SPAWN_TEST_OWNER="+cfg.Home.Path())
	owner.Stdout, owner.Stderr = t.Output(), t.Output()
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	return owner
}

// TestOwner is that process.
func TestOwner(t *testing.T) {
	root := os.Getenv("SPAWN_TEST_OWNER")
	if root == "" {
		t.Skip("is played by another test")
	}
	dir, err := home.At(root)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := OpenCache(dir.Path("cache"))
	if err != nil {
		t.Fatal(err)
	}
	binaries, err := cache.List()
	if err != nil || len(binaries) != 1 {
		t.Fatal(binaries, err)
	}
	<-begin(t, serviceAt(t, dir, cache, binaries[0], "serves")).Done()
}

func TestWhatNoCellMaySee(t *testing.T) {
	me, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(me, link); err != nil {
		t.Fatal(err)
	}
	cfg := service(t, "serves")
	for _, path := range []string{"/", "/home", "/root/x", me, filepath.Join(me, ".ssh"), link, cfg.Home.Path("keys"), "/run/docker.sock", "/proc", "/var/run"} {
		for _, wants := range []manifest.Sandbox{{Read: []string{path}}, {Write: []string{path}}} {
			cfg.File.Sandbox = wants
			_, err := StartCapsid(t.Context(), cfg)
			var forbidden *ForbiddenPathError
			if !errors.As(err, &forbidden) {
				t.Errorf("%+v: got %v", wants, err)
			}
		}
	}
}

func TestLogsAreRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := openLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 100 {
		fmt.Fprintf(l, "line %03d\n", n)
	}
	var all []byte
	files := LogFiles(path)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || len(data) > 100 {
			t.Errorf("%s has %d bytes, %v", f, len(data), err)
		}
		all = append(all, data...)
	}
	if len(files) != logKept || !strings.HasSuffix(string(all), "line 098\nline 099\n") {
		t.Errorf("%v: %q", files, all)
	}
}

func TestWarmStartIsQuick(t *testing.T) {
	cfg := service(t, "serves")
	sandbox.Probe()
	begun := time.Now()
	c := begin(t, cfg)
	ask(t, call(t, c), "hello")
	t.Logf("from the start to the first reply: %v", time.Since(begun))
}
