package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// module makes DIR a Go module called PATH that may import this one: it requires what this one requires, and the modules
// come from where this test's own did.
func module(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: module DIR PATH")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	ts.Check(err)
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	ts.Check(err)
	const ours = "module github.com/cellnode/cellnode\n"
	if !bytes.HasPrefix(text, []byte(ours)) {
		ts.Fatalf("go.mod does not begin with %q", ours)
	}
	own := fmt.Sprintf("module %s\n%s\nrequire github.com/cellnode/cellnode v0.0.0\n\nreplace github.com/cellnode/cellnode => %s\n", args[1], text[len(ours):], root)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o777))
	ts.Check(os.WriteFile(filepath.Join(dir, "go.mod"), []byte(own), 0o666))
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o666))
}

// moduleGraph fetches the go.mod files of all requirements of this module's requirements. Nothing but a workspace reads them,
// so that a build of this module has left some out.
func moduleGraph(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: modulegraph")
	}
	cmd := exec.Command("go", "list", "-m", "all")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("go list -m all: %v\n%s", err, out)
	}
}

// goEnvironment lets scripts run the go command with this test's caches and without a network.
func goEnvironment(env *testscript.Env) error {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOROOT"} {
		env.Setenv(name, lines[i])
	}
	env.Setenv("GOFLAGS", "-mod=mod")
	env.Setenv("GOPROXY", "off")
	env.Setenv("GOWORK", "off")
	env.Setenv("GOTOOLCHAIN", "local")
	return nil
}

// same compares two folders, byte by byte.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	a, b := contents(ts, ts.MkAbs(args[0])), contents(ts, ts.MkAbs(args[1]))
	equal := len(a) == len(b)
	for name, data := range a {
		if other, ok := b[name]; !ok || other != data {
			equal = false
			ts.Logf("%s differs", name)
		}
	}
	if equal == neg {
		ts.Fatalf("%v: same is %v", args, equal)
	}
}

func contents(ts *testscript.TestScript, dir string) map[string]string {
	out := map[string]string{}
	ts.Check(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path) // path lies below it
		out[rel] = string(data)
		return err
	}))
	if len(out) == 0 {
		ts.Fatalf("%s has no files", dir)
	}
	return out
}

// The tree that a consumer builds from is the same with and without a network: what offline_vendor reads suffices.
func TestWithoutANetworkTheBuildStepWritesTheSameBytes(t *testing.T) {
	if err := exec.Command("unshare", "-Urn", "true").Run(); err != nil {
		t.Skip("network namespaces are not allowed here")
	}
	m := newMatrix(t)
	m.publish("near")
	dir := m.consumer("near", false, false)
	for _, args := range [][]string{{"vendor"}, {"remote", "ExchangeClient=exchange"}} {
		if out, errs, code := m.cellnode(m.home["none"], dir, args...); code != 0 {
			t.Fatalf("%v: %d %s%s", args, code, out, errs)
		}
	}
	online := read(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "Cell.toml"))
	if err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(dir, "Cell.toml"), string(text)+"offline_vendor = true\n")
	if err := os.RemoveAll(filepath.Join(dir, "exchange")); err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(dir, "main.go"), "package main\n\nfunc main() {}\n")
	for _, args := range [][]string{{"remote", "ExchangeClient=exchange"}, {"build", "."}, {"check"}, {"check", "--frozen"}} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "unshare", append([]string{"-Urn", "cellnode"}, args...)...)
		cmd.Dir, cmd.Env = dir, environ(filepath.Join(m.dir, "fresh"))
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for _, made := range []string{"main.go", "trader"} {
		if err := os.Remove(filepath.Join(dir, made)); err != nil {
			t.Fatal(err)
		}
	}
	offline := read(t, dir)
	for name, data := range online {
		if name != "Cell.toml" && offline[name] != data {
			t.Errorf("%s differs", name)
		}
	}
	if len(online) != len(offline) || !strings.Contains(online["exchange/cell.go"], m.seeds["near"].Peer.String()) {
		t.Errorf("%d files online, %d offline; cell.go is\n%s", len(online), len(offline), online["exchange/cell.go"])
	}
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, path := range tree(t, dir) {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.ToSlash(rel)] = string(data)
	}
	return out
}
