//go:build unix

package spawn

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

func hello(t *testing.T) Recipe {
	t.Helper()
	compiles(t)
	return repo(t, map[string]string{
		"Cell.toml": cellToml, "go.mod": "module example.org/exchange\n\ngo 1.26\n", "main.go": program,
	})
}

func TestTwoBuildsOfOneCommitAreTheSameBytes(t *testing.T) {
	recipe := hello(t)
	first := ribosome(t, nil)
	a, err := first.Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(a.Path).CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("the binary says %q, %v", out, err)
	}
	again := hello(t) // another folder, the same commit
	if again.Commit != recipe.Commit {
		t.Fatal("the test's repositories differ")
	}
	second := ribosome(t, nil)
	if err := errors.Join(os.RemoveAll(second.cfg.Cache.path("go")), os.Mkdir(second.cfg.Cache.path("go"), 0o700)); err != nil { // the library too
		t.Fatal(err)
	}
	b, err := second.Build(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	if a.SHA256 != b.SHA256 {
		t.Errorf("%s and %s", a.SHA256, b.SHA256)
	}
	begun := time.Now()
	hit, err := first.Build(t.Context(), recipe)
	took := time.Since(begun)
	if err != nil || !hit.Hit || hit.Path != a.Path || took > 100*time.Millisecond {
		t.Errorf("the second build: %+v, %v, in %v", hit, err, took)
	}
	if err := first.cfg.Cache.Check(hit); err != nil {
		t.Error(err)
	}
	t.Logf("a hit takes %v", took)
}

func TestTheKeyIsAllThatGoesIntoABuild(t *testing.T) {
	base := Recipe{Commit: strings.Repeat("a", 40)}
	tools := toolchain{version: "go1.26.8"}
	keys := map[string]bool{base.key(tools): true}
	for _, change := range []func(r *Recipe, tools *toolchain){
		func(r *Recipe, _ *toolchain) { r.Commit = strings.Repeat("b", 40) },
		func(r *Recipe, _ *toolchain) { r.Build.Package = "./cmd/x" },
		func(r *Recipe, _ *toolchain) { r.Build.Command = []string{"make"} },
		func(_ *Recipe, tools *toolchain) { tools.version = "go1.26.9" },
	} {
		r, with := base, tools
		change(&r, &with)
		if keys[r.key(with)] {
			t.Errorf("%+v with %+v has the key of another", r, with)
		}
		keys[r.key(with)] = true
	}
}

func TestOfManyWhoWantOneBuildOneMakesIt(t *testing.T) {
	recipe := hello(t)
	var compiled atomic.Int64
	r := ribosome(t, func(c *RibosomeConfig) {
		c.Progress = func(step, _ string) {
			if step == "compile" {
				compiled.Add(1)
			}
		}
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := r.Build(t.Context(), recipe); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := compiled.Load(); n != 1 {
		t.Errorf("it was built %d times", n)
	}
}

func TestModulesComeInCheckedAndVendoredOnesNeedNothing(t *testing.T) {
	compiles(t)
	main := "package main\n\nimport \"example.org/vendored\"\n\nfunc main() { println(vendored.Text) }\n"
	vendored := repo(t, map[string]string{
		"Cell.toml": cellToml, "main.go": main,
		"go.mod":                            "module example.org/exchange\n\ngo 1.26\n\nrequire example.org/vendored v1.0.0\n",
		"vendor/modules.txt":                "# example.org/vendored v1.0.0\n## explicit\nexample.org/vendored\n",
		"vendor/example.org/vendored/it.go": "package vendored\n\nconst Text = \"vendored\"\n",
	})
	r := ribosome(t, nil)
	a, err := r.Build(t.Context(), vendored)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(a.Path).CombinedOutput(); err != nil || string(out) != "vendored\n" {
		t.Errorf("%q, %v", out, err)
	}

	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var mod strings.Builder
	for line := range strings.Lines(string(sums)) {
		if strings.HasPrefix(line, "golang.org/x/mod v0.41.0") {
			mod.WriteString(line)
		}
	}
	files := map[string]string{
		"Cell.toml": cellToml, "go.mod": "module example.org/exchange\n\ngo 1.26.0\n\nrequire golang.org/x/mod v0.41.0\n", "go.sum": mod.String(),
		"main.go": "package main\n\nimport \"golang.org/x/mod/semver\"\n\nfunc main() { println(semver.Major(\"v1.2.3\")) }\n",
	}
	a, err = r.Build(t.Context(), repo(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(a.Path).CombinedOutput(); err != nil || string(out) != "v1\n" {
		t.Errorf("%q, %v", out, err)
	}
	files["go.sum"] = strings.ReplaceAll(mod.String(), "h1:", "h1:x") // not what the repository pins
	wantBuildError(t, ribosome(t, nil), repo(t, files), "modules", "checksum mismatch")
}

// Whatever a repository tries while it is built, it fails with a clear error, in time, and the cache is clean.
func TestHostileRepositoriesAreContained(t *testing.T) {
	if testing.Short() {
		t.Skip("a build for each kind of hostility")
	}
	command := func(script string) map[string]string {
		return map[string]string{
			"Cell.toml": cellToml + "[build]\ncommand = [\"/bin/sh\", \"build.sh\"]\noutput = \"bin\"\n", "build.sh": script,
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			t.Error("a build has reached the network")
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	goFiles := func(mod, main string, more ...string) map[string]string {
		files := map[string]string{"Cell.toml": cellToml, "go.mod": "module example.org/exchange\n\n" + mod, "main.go": main}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	cases := []struct {
		name       string
		files      map[string]string
		step, text string
	}{
		{"no module", map[string]string{"Cell.toml": cellToml}, "modules", "no go.mod"},
		{"cgo", goFiles("go 1.26\n", "package main\n\n// #cgo CFLAGS: -fplugin=./evil.so\nimport \"C\"\n\nfunc main() {}\n"), "compile", "build constraints exclude all Go files"},
		{"newer go", goFiles("go 1.99\n", program), "compile", "1.99"},
		{"replace to outside", goFiles("go 1.26\n\nrequire example.org/x v1.0.0\n\nreplace example.org/x => "+filepath.Dir(secret)+"\n", "package main\n\nimport _ \"example.org/x\"\n\nfunc main() {}\n"), "modules", "(no such file|permission denied)"},
		{"linked vendor", goFiles("go 1.26\n\nrequire example.org/x v1.0.0\n", "package main\n\nimport _ \"example.org/x\"\n\nfunc main() {}\n", "vendor", "-> "+filepath.Dir(secret)), "modules", "module lookup disabled by GOPROXY=off"},
		{"linked source", goFiles("go 1.26\n", "-> "+secret), "compile", "no Go files in its root"},
		{"embedded secret", goFiles("go 1.26\n", "package main\n\nimport _ \"embed\"\n\n//go:embed secret\nvar s string\n\nfunc main() { println(s) }\n", "secret", "-> "+secret), "compile", "secret"},
		{"reads home", command("cat " + secret + " >bin\n"), "compile", "secret: (No such file|Permission denied)"},
		{"writes outside", command("echo x >" + secret + "2 && cp build.sh bin\n"), "compile", "cannot create .*secret2"},
		{"network", command("bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "' && cp build.sh bin\n"), "compile", "/dev/tcp/.*: (Operation not permitted|Permission denied|Network is unreachable)"},
		{"output is a link", command("ln -s " + secret + " bin\n"), "compile", "output bin"},
		{"no output", command("true\n"), "compile", "output bin"},
		{"fork bomb", command("i=0; while [ $i -lt 10000 ]; do sleep 1000 & i=$((i+1)); done; cp build.sh bin\n"), "compile", "Cannot fork"},
		{"10 GiB of memory", command("head -c 10737418240 /dev/zero | tail >/dev/null || exit 3; cp build.sh bin\n"), "compile", "(more memory than it may|memory exhausted|Cannot allocate)"},
		{"10 GiB of disk", command("for i in 1 2 3 4 5 6 7 8 9; do head -c 1200000000 /dev/zero >big$i || exit 3; done; cp build.sh bin\n"), "compile", "(No space left on device|File too large)"},
		{"endless", command("while :; do :; done\n"), "compile", "took longer than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := ribosome(t, func(cfg *RibosomeConfig) {
				cfg.Limits.Memory, cfg.Limits.Disk, cfg.Limits.Pids = 1<<30, 256<<20, 200
				if c.name == "endless" {
					cfg.Timeout = 500 * time.Millisecond
				}
			})
			wantBuildError(t, r, repo(t, c.files), c.step, c.text)
			if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
				t.Errorf("%q, %v", data, err)
			}
			if _, err := os.Stat(secret + "2"); err == nil {
				t.Error("it wrote outside")
			}
		})
	}
}

func wantBuildError(t *testing.T, r *Ribosome, recipe Recipe, step, text string) {
	t.Helper()
	a, err := r.Build(t.Context(), recipe)
	var failed *BuildError
	if !errors.As(err, &failed) || failed.Step != step || !regexp.MustCompile(text).MatchString(err.Error()) {
		t.Fatalf("got %+v, %v; want a BuildError of %s like %q", a, err, step, text)
	}
	t.Log(err)
	list, err := r.cfg.Cache.List()
	left, globErr := filepath.Glob(r.cfg.Cache.path("tmp", "*"))
	if err := errors.Join(err, globErr); err != nil || len(list)+len(left) > 0 {
		t.Errorf("in the cache are %v and %v, %v", list, left, err)
	}
}

// go generate, hooks and the user's own settings have no part in a build.
func TestNothingButTheCompilerRuns(t *testing.T) {
	compiles(t)
	mark := filepath.Join(t.TempDir(), "ran")
	t.Setenv("GOFLAGS", "-toolexec=/bin/false")
	recipe := repo(t, map[string]string{
		"Cell.toml": cellToml, "go.mod": "module example.org/exchange\n\ngo 1.26\n\ntoolchain go1.99.0\n", "hook": "#!/bin/sh\ntouch " + mark + "\n",
		"main.go":        "package main\n\n//go:generate touch " + mark + "\n\nfunc main() { println(\"hello\") }\n",
		".gitattributes": "* filter=evil\n", "go.work": "go 1.26\n\nuse ../elsewhere\n",
	})
	if _, err := ribosome(t, nil).Build(t.Context(), recipe); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something of the repository ran")
	}
}

func TestACommandBuildsOnACopyOfItsFiles(t *testing.T) {
	recipe := repo(t, map[string]string{
		"Cell.toml": cellToml + "[build]\ncommand = [\"./build.sh\"]\noutput = \"out/exchange\"\n",
		"build.sh":  "#!/bin/sh\nset -e\nmkdir out\necho '#!/bin/sh' >out/exchange\necho 'echo made' >>out/exchange\n",
	})
	a, err := ribosome(t, nil).Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(a.Path).CombinedOutput(); err != nil || string(out) != "made\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestADamagedBinaryIsNeverStarted(t *testing.T) {
	r, recipe := ribosome(t, nil), hello(t)
	a, err := r.Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	damage := func() {
		t.Helper()
		data, err := os.ReadFile(a.Path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := errors.Join(os.Chmod(a.Path, 0o755), os.WriteFile(a.Path, data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	var damaged *DamagedError
	if err := r.cfg.Cache.Check(a); !errors.As(err, &damaged) {
		t.Fatalf("got %v", err)
	}
	b, err := r.Build(t.Context(), recipe)
	if err != nil || b.Hit || b.SHA256 != a.SHA256 {
		t.Errorf("got %+v, %v", b, err)
	}
	damage()
	if checked, list, err := r.cfg.Cache.Verify(t.Context()); err != nil || checked != 1 || len(list) != 1 {
		t.Errorf("%d checked, %v damaged, %v", checked, list, err)
	}
	if list, err := r.cfg.Cache.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestPruneTakesWhatIsOld(t *testing.T) {
	r := ribosome(t, nil)
	a, err := r.Build(t.Context(), hello(t))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := r.cfg.Cache.Prune(time.Now().Add(-time.Hour), false); err != nil || p.Builds != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	p, err := r.cfg.Cache.Prune(time.Now().Add(time.Hour), true)
	if err != nil || p.Builds != 1 || p.Bytes < a.Size {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := os.Stat(a.Path); err == nil {
		t.Error("the binary is still there")
	}
}

func TestAnInterruptedBuildLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := ribosome(t, func(c *RibosomeConfig) {
		c.Progress = func(step, _ string) {
			if step == "compile" {
				cancel()
			}
		}
	})
	recipe := hello(t)
	if _, err := r.Build(ctx, recipe); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(r.cfg.Cache.path("tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := r.Build(t.Context(), recipe); err != nil {
		t.Error(err)
	}
}

func TestWithoutASandboxNothingIsBuiltUnlessThatIsWritten(t *testing.T) {
	if !sandbox.Probe().Enough() {
		if _, err := ribosome(t, nil).Build(t.Context(), hello(t)); !errors.Is(err, ErrNoSandbox) {
			t.Errorf("got %v", err)
		}
	}
	a, err := ribosome(t, func(c *RibosomeConfig) { c.Open = true }).Build(t.Context(), repo(t, map[string]string{
		"Cell.toml": cellToml + "[build]\ncommand = [\"cp\", \"exchange\", \"out\"]\noutput = \"out\"\n", "exchange": "#!/bin/sh\n",
	}))
	if err != nil || a.Size == 0 {
		t.Errorf("%+v, %v", a, err)
	}
}
