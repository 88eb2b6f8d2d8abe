//go:build amd64 || arm64

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/spawn"
)

// builder is what is killed: a spawn that builds a cell whose service ends at once, so that the command ends, too.
type builder struct {
	*matrix
	home string
	env  []string
	want string // SHA-256 of the binary
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	dir, err := os.MkdirTemp("", "b") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &builder{matrix: &matrix{t: t, dir: dir}, home: filepath.Join(dir, "h")}
	b.env = environ(b.home)
	tree := filepath.Join(dir, "dies")
	b.write(filepath.Join(tree, "Cell.toml"), "[package]\nname = \"dies\"\n[build]\ncommand = [\"cp\", \"run.sh\", \"out\"]\noutput = \"out\"\n")
	b.write(filepath.Join(tree, "run.sh"), "#!/bin/sh\n"+strings.Repeat("# a line among many\n", 10_000)+"exit 4\n")
	b.git(dir, "init", "--quiet", "dies")
	b.git(tree, "add", ".")
	b.git(tree, "commit", "--quiet", "-m", "first")
	b.git(tree, "tag", "v1")
	b.write(filepath.Join(dir, "Cell.toml"), fmt.Sprintf("[cell.dies]\ngit = %q\ntag = \"v1\"\n[cell.dies.policy]\nsandbox = \"none\"\n", tree))
	return b
}

// spawned runs spawn to its end, under tr.
func (b *builder) spawned(tr *trace) {
	b.t.Helper()
	path, err := exec.LookPath("cellnode")
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(path, "spawn", "dies")
	cmd.Dir, cmd.Env = b.dir, b.env
	tr.Roots = []string{filepath.Join(b.home, "cache", "spawn")}
	if _, err := tr.Run(cmd, patience); err != nil {
		b.t.Fatal(err)
	}
}

// check holds the cache to what it promises: whole binaries alone, and the next build works.
func (b *builder) check(what string) {
	b.t.Helper()
	cache, err := spawn.OpenCache(filepath.Join(b.home, "cache", "spawn"))
	if err != nil {
		b.t.Fatal(err)
	}
	if checked, damaged, err := cache.Verify(b.t.Context()); err != nil || len(damaged) > 0 {
		b.t.Errorf("after %s %d of %d binaries are damaged, %v", what, len(damaged), checked, err)
	}
	if _, errs, code := b.command(b.env, b.dir, "spawn", "dies"); code != 1 || !strings.Contains(errs, "dies does not serve: exit code 4") {
		b.t.Errorf("after %s: spawn: %d %s", what, code, errs)
	}
	list, err := cache.List()
	if err != nil || len(list) != 1 {
		b.t.Fatalf("after %s there are %v, %v", what, list, err)
	}
	if b.want == "" {
		b.want = list[0].SHA256
	}
	if list[0].SHA256 != b.want {
		b.t.Errorf("after %s the binary is %s, it was %s", what, list[0].SHA256, b.want)
	}
	dir, err := home.At(b.home)
	if err != nil {
		b.t.Fatal(err)
	}
	if running, err := dir.Running(); err != nil || len(running) > 0 {
		b.t.Errorf("after %s there runs %v, %v", what, running, err)
	}
}

// TestASpawnKilledAtAnyChangeOfItsCache kills a build, all its programs included, at its changes of the cache: before each
// write, rename and fsync, half-way through, and after.
func TestASpawnKilledAtAnyChangeOfItsCache(t *testing.T) {
	if err := traceable(t); err != nil {
		t.Skipf("this machine does not let a process trace its children: %v", err)
	}
	b := newBuilder(t)
	whole := &trace{}
	b.spawned(whole)
	b.check("a whole life")
	rounds := kills()
	if !*long {
		rounds /= 2
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("%d changes; seed %d", len(whole.Changes), seed)
	died := 0
	for i := range rounds {
		if err := os.RemoveAll(filepath.Join(b.home, "cache", "spawn")); err != nil {
			t.Fatal(err)
		}
		tr := &trace{Kill: 1 + at(i/3, rounds/3, len(whole.Changes), random), When: moment(i % 3)}
		b.spawned(tr)
		what := fmt.Sprintf("a life of %d changes", len(tr.Changes))
		if tr.Died {
			died++
			what = fmt.Sprintf("a kill %s %q, change %d", tr.When, tr.Changes[len(tr.Changes)-1], tr.Kill)
		}
		b.check(what)
		if t.Failed() {
			return
		}
	}
	t.Logf("died %d times", died)
	if out, errs, code := b.command(b.env, b.dir, "cache", "prune"); code != 0 {
		t.Errorf("prune: %d %s%s", code, out, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(b.home, "cache", "spawn", "tmp", "*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
