package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
)

const (
	matrixProto = `syntax = "proto3"; package acme.v1; service Exchange { rpc Quote(M) returns (M); } message M { string s = 1; }`
	otherProto  = `syntax = "proto3"; package acme.v1; service Exchange { rpc Quote(M) returns (M); } message M { int64 s = 1; }`
	moreProto   = `syntax = "proto3"; package acme.v1; service Exchange { rpc Quote(M) returns (M); } message M { string s = 1; int64 t = 2; }`
)

// matrix is a repository, instances of it and homes with and without one, for the rows of the build step.
type matrix struct {
	t          testing.TB
	dir        string
	hub        string // the bare repository
	seeds      map[string]manifest.Seed
	home       map[string]string // by what runs on the consumer's machine
	commit     string
	generation int
}

func newMatrix(t testing.TB) *matrix {
	dir, err := os.MkdirTemp("", "m") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &matrix{t: t, dir: dir, hub: filepath.Join(dir, "hub", "exchange.git"), seeds: map[string]manifest.Seed{}, home: map[string]string{}}
	work := filepath.Join(dir, "work")
	m.write(filepath.Join(work, "Cell.toml"), "[package]\nname = \"exchange\"\ninterface = [\"a.proto\"]\n[build]\ncommand = [\"cp\", \"server\", \"out\"]\noutput = \"out\"\n")
	buildServer(t, filepath.Join(work, "server"))
	m.write(filepath.Join(work, "a.proto"), matrixProto)
	m.git(dir, "init", "--quiet", work)
	m.git(work, "add", ".")
	m.git(work, "commit", "--quiet", "-m", "first")
	m.git(work, "tag", "v1")
	m.git(dir, "clone", "--quiet", "--bare", work, m.hub)
	m.commit = strings.TrimSpace(m.git(work, "rev-parse", "HEAD"))
	right, wrong, more := filepath.Join(dir, "right"), filepath.Join(dir, "wrong"), filepath.Join(dir, "more")
	for tree, proto := range map[string]string{right: matrixProto, wrong: otherProto, more: moreProto} {
		m.git(dir, "clone", "--quiet", m.hub, tree)
		m.write(filepath.Join(tree, "a.proto"), proto)
	}
	m.home["none"] = filepath.Join(dir, "n")
	t.Cleanup(func() {
		for _, home := range m.home {
			endDaemon(home) // of those rows that have started one
		}
	})
	m.home["right"], _ = m.run("r", right)
	m.home["earlier"], _ = m.run("e", right) // of earlier builds; no row touches its cache
	m.home["wrong"], _ = m.run("w", wrong)
	m.home["compatible"], _ = m.run("c", more)
	stale, node := m.run("s", right)
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait() // killed: the error says just that
	m.home["stale"] = stale
	for name, tree := range map[string]string{"near": right, "wrong": wrong, "compatible": more} {
		home, _ := m.run("i"+name[:1], tree)
		m.seeds[name] = m.seed(home)
	}
	m.seeds["far"] = m.seeds["near"]
	return m
}

func (m *matrix) write(path, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *matrix) git(dir string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@localhost"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// environ is a consumer's or a node's: it meets nobody but those whom files name.
func environ(home string) []string {
	return append(os.Environ(), "CELL_HOME="+home, "CELL_DAEMON=off", "CELL_MDNS=false", "CELL_DHT=", "CELL_KEY=", "CELL_FILE=",
		"CELL_BOOTSTRAP=", "CELL_LISTEN=/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0/tls")
}

// run starts an instance with the interface of a tree, as an instance of the repository at v1, and waits until it serves.
func (m *matrix) run(name, tree string) (home string, node *exec.Cmd) {
	m.t.Helper()
	home = filepath.Join(m.dir, name)
	node = exec.Command("cellnode", "run", "--allow-open", "--cell", m.hub+"@v1", "--commit", m.commit, "--", "service")
	// Without git and the DHT it does not meet those whom a row's seed list names; nor by the list that a consumer leaves in the
	// cache of their home, which names them as seed does.
	service, err := exec.LookPath("service")
	if err != nil {
		m.t.Fatal(err)
	}
	node.Dir, node.Env = tree, append(environ(home), "CELL_DHT=false", "PATH="+filepath.Dir(service))
	var errs bytes.Buffer
	node.Stderr = &errs
	node.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := node.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = syscall.Kill(-node.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = node.Wait()
	})
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if out, _, _ := m.cellnode(home, m.dir, "status", "--json"); strings.Contains(out, `"ready":true`) {
			tick.Stop()
			return home, node
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.t.Fatalf("instance %s is not ready:\n%s", name, errs.String())
		}
	}
}

// buildServer writes a program that a sandbox holds nothing back from: it listens on CELL_SOCKET and greets.
func buildServer(t testing.TB, path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/server\n\ngo 1.26\n", "main.go": serverSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const serverSource = `package main

import (
	"net"
	"os"
)

func main() {
	l, err := net.Listen("unix", os.Getenv("CELL_SOCKET"))
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		c.Write([]byte("hello\n"))
		c.Close()
	}
}
`

// cellnode runs the command to its end.
func (m *matrix) cellnode(home, dir string, args ...string) (out, errs string, code int) {
	m.t.Helper()
	return m.command(environ(home), dir, args...)
}

func (m *matrix) command(env []string, dir string, args ...string) (out, errs string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cellnode", args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		m.t.Fatalf("cellnode %v: %v, %v; it wrote %s%s", args, err, ctx.Err(), stdout.String(), stderr.String())
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// seed is the instance of a home, as a seed list names it: by its TCP address, which serves consumers. Instances meet over QUIC.
func (m *matrix) seed(home string) manifest.Seed {
	m.t.Helper()
	out, errs, _ := m.cellnode(home, m.dir, "status", "--json")
	var status struct {
		Peer  string   `json:"peer"`
		Addrs []string `json:"addrs"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		m.t.Fatalf("%v: %s%s", err, out, errs)
	}
	id, err := peer.Decode(status.Peer)
	if err != nil {
		m.t.Fatal(err)
	}
	s := manifest.Seed{Peer: id}
	for _, text := range status.Addrs {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := addr.ValueForProtocol(ma.P_TCP); err == nil {
			s.Addrs = append(s.Addrs, addr)
		}
	}
	return s
}

// publish makes the repository's seed list name the instances, and nobody else.
func (m *matrix) publish(instances string) {
	m.t.Helper()
	list := manifest.SeedList{}
	if s, ok := m.seeds[instances]; ok {
		list.Instances = []manifest.Seed{s}
	}
	data, err := list.Marshal()
	if err != nil {
		m.t.Fatal(err)
	}
	m.generation++
	tree := filepath.Join(m.dir, fmt.Sprint("seeds", m.generation))
	m.write(filepath.Join(tree, "instances.json"), string(data))
	m.git(m.dir, "init", "--quiet", tree)
	m.git(tree, "add", ".")
	m.git(tree, "commit", "--quiet", "-m", "seeds")
	m.git(tree, "push", "--quiet", "--force", m.hub, "HEAD:refs/cell/seeds")
}

// consumer makes a consumer's folder. With offline it has the lock and the vendored interface of an earlier build.
func (m *matrix) consumer(instances string, spawn, offline bool) string {
	m.t.Helper()
	dir := m.t.TempDir()
	limit := 60_000
	if instances == "far" {
		limit = 0 // everything is farther than that
	}
	text := fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = \"v1\"\n[cell.exchange.policy]\nmax_latency_ms = %d\nallow_open = true\nauto_spawn = %v\n", m.hub, limit, spawn)
	m.write(filepath.Join(dir, "go.mod"), "module example.com/trader\n\ngo 1.26.0\n")
	m.write(filepath.Join(dir, "Cell.toml"), text)
	if !offline {
		return dir
	}
	if out, errs, code := m.cellnode(m.home["earlier"], dir, "vendor"); code != 0 {
		m.t.Fatalf("vendor: %d %s%s", code, out, errs)
	}
	path := filepath.Join(dir, "Cell.lock")
	data, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	lock, err := manifest.ParseLock(path, data)
	if err != nil {
		m.t.Fatal(err)
	}
	lock.Cells[0].Seeds = nil
	if s, ok := m.seeds[instances]; ok {
		lock.Cells[0].Seeds = []manifest.Seed{s}
	}
	if data, err = lock.Marshal(); err != nil {
		m.t.Fatal(err)
	}
	m.write(path, string(data))
	m.write(filepath.Join(dir, "Cell.toml"), text+"offline_vendor = true\n")
	return dir
}

// outcome is what the seed's steps come to. That of an instance whose interface adds to the wanted one is as good as any.
func outcome(local, instances string, spawn, offline bool) (choice string, code int) {
	switch {
	case local == "right", local == "compatible":
		return "local", 0
	case instances == "near", instances == "compatible", offline && instances != "none":
		return "remote", 0
	case spawn:
		return "spawn", 0
	}
	return "refuse", 3
}

// TestEveryRowOfTheBuildStep compares what the command says in each row with testdata/matrix.txt, too.
func TestEveryRowOfTheBuildStep(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred build steps")
	}
	m := newMatrix(t)
	page := readMatrix(t)
	for _, instances := range []string{"none", "near", "far", "wrong", "compatible"} {
		m.publish(instances)
		t.Run("instances "+instances, func(t *testing.T) { // to its end, before others are published
			for _, local := range []string{"none", "right", "stale", "wrong", "compatible"} {
				t.Run("socket "+local, func(t *testing.T) {
					t.Parallel()
					m.rows(t, page, local, instances)
				})
			}
		})
	}
	page.write(t)
}

// rows plays those of one home, which share it, one after the other.
func (m *matrix) rows(t *testing.T, page *matrixPage, local, instances string) {
	for row := range 4 {
		spawn, offline := row&1 > 0, row&2 > 0
		policy := fmt.Sprintf("auto_spawn %v, offline_vendor %v", spawn, offline)
		t.Run(policy, func(t *testing.T) {
			m := *m
			m.t = t
			page.compare(t, fmt.Sprintf("socket %s, instances %s, %s", local, instances, policy), m.row(local, instances, spawn, offline))
		})
	}
}

// row runs the build step, and returns what it says.
func (m *matrix) row(local, instances string, spawn, offline bool) string {
	m.t.Helper()
	dir := m.consumer(instances, spawn, offline)
	home := m.home[local]
	for _, left := range []string{"git", "peers"} { // by other rows
		if err := os.RemoveAll(filepath.Join(home, "cache", left)); err != nil {
			m.t.Fatal(err)
		}
	}
	before := tree(m.t, dir)
	choice, wantCode := outcome(local, instances, spawn, offline)
	env := environ(home)
	if choice == "spawn" {
		env = append(env, "CELL_DAEMON=auto")
	}
	out, errs, code := m.command(env, dir, "remote", "ExchangeClient=exchange")
	if first, _, _ := strings.Cut(out, "\n"); code != wantCode || !strings.HasSuffix(first, ": "+choice) {
		m.t.Fatalf("exit code %d, want %d and the choice %q\n%s%s", code, wantCode, choice, out, errs)
	}
	if code != 0 {
		if after := tree(m.t, dir); !slices.Equal(before, after) {
			m.t.Errorf("files were written: %v", after)
		}
		return m.normal(out + errs)
	}
	if choice == "spawn" {
		m.spawned(env, dir, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "exchange", "a_grpc.pb.go")); err != nil {
		m.t.Error(err)
	}
	return m.normal(out + errs)
}

var differing = []struct {
	form *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`12D3KooW\w+`), "PEER"},
	{regexp.MustCompile(`\d+(\.\d+)? (ms|s)\b`), "TIME"},
	{regexp.MustCompile(`[1-9]\d*(\.\d+)?(ms|s|µs)\b`), "TIME"},
	{regexp.MustCompile(`  +`), "  "},
	{regexp.MustCompile(`(tcp|quic)  TIME`), "PATH  TIME"}, // whichever answers first, on a busy machine
}

// normal is a text without what differs from run to run.
func (m *matrix) normal(text string) string {
	text = strings.ReplaceAll(text, m.dir, "DIR")
	for _, d := range differing {
		text = d.form.ReplaceAllString(text, d.is)
	}
	return text
}

// spawned reads from the socket that the build step has named, and ends the service for the next row.
func (m *matrix) spawned(env []string, dir, out string) {
	m.t.Helper()
	_, socket, _ := strings.Cut(out, " at unix:")
	socket, _, _ = strings.Cut(socket, "\n")
	conn, err := net.Dial("unix", socket)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	if said, err := io.ReadAll(conn); err != nil || string(said) != "hello\n" {
		m.t.Errorf("it says %q, %v", said, err)
	}
	if out, errs, code := m.command(env, dir, "stop", "exchange"); code != 0 {
		m.t.Errorf("stop: %d %s%s", code, out, errs)
	}
}

// A build step of one small cell with everything in the cache: the tag is pinned, the one instance is probed.
func BenchmarkRemoteWarm(b *testing.B) {
	m := newMatrix(b)
	m.publish("near")
	dir := m.consumer("near", false, false)
	for b.Loop() {
		if out, errs, code := m.cellnode(m.home["none"], dir, "remote", "ExchangeClient=exchange"); code != 0 {
			b.Fatalf("%d %s%s", code, out, errs)
		}
	}
}

func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
