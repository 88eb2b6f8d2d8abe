//go:build unix

package spawn

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// cellToml is the Cell.toml of a cell that is built by Go from its root.
const cellToml = "[package]\nname = \"exchange\"\nrepository = \"https://git.example.org/acme/exchange\"\n"

// program is a Go program that needs nothing but the runtime.
const program = "package main\n\nfunc main() { println(\"hello\") }\n"

// repo makes a repository of these files with the tag v1.0.0, and the recipe to build it.
func repo(t *testing.T, files map[string]string) Recipe {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := filepath.Join(t.TempDir(), "exchange")
	for path, text := range files {
		at := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "init", "--quiet")
	git(t, dir, "add", "--all", ".")
	git(t, dir, "commit", "--quiet", "--message=m")
	git(t, dir, "tag", "v1.0.0")
	file, err := manifest.ParseFile("Cell.toml", []byte(files["Cell.toml"]))
	if err != nil {
		t.Fatal(err)
	}
	cell, err := manifest.NewCell(dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	return Recipe{URL: dir, Cell: cell, Commit: git(t, dir, "rev-parse", "HEAD"), Build: file.Build}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-11-22T20:00:00Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-11-22T20:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// library is a cache in which the parts of the standard library that program needs are compiled: once for all tests.
var library = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cell-library-")
	if err != nil {
		return "", err
	}
	cache, err := OpenCache(dir)
	if err != nil {
		return dir, err
	}
	tools, err := findToolchain(context.Background(), "")
	if err != nil {
		return dir, err
	}
	j := &job{cfg: RibosomeConfig{Cache: cache}.withDefaults(), tools: tools, dir: cache.path("tmp", "library")}
	src := j.path("src")
	if err := errors.Join(os.MkdirAll(src, 0o755), os.Mkdir(j.path("scratch"), 0o755), ownedDir(j.modCache()),
		os.WriteFile(filepath.Join(src, "go.mod"), []byte("module example.org/exchange\n"), 0o644),
		os.WriteFile(filepath.Join(src, "main.go"), []byte(program), 0o644), give(j.dir)); err != nil {
		return dir, err
	}
	out, err := os.Create(filepath.Join(dir, "binary"))
	if err != nil {
		return dir, err
	}
	defer out.Close()
	return dir, j.goBuild(context.Background(), out, false)
})

// compiles is called by tests that compile Go, which takes the standard library first.
func compiles(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("compiles the standard library")
	}
}

// clearLibrary removes it.
func clearLibrary() {
	if made {
		dir, _ := library()
		os.RemoveAll(dir)
	}
}

var made bool

// ribosome is one with a cache of its own, in which the standard library is compiled already, but for short runs, which compile nothing.
func ribosome(t *testing.T, change func(*RibosomeConfig)) *Ribosome {
	t.Helper()
	if !sandbox.Probe().Enough() {
		t.Skipf("no sandbox here: %s", sandbox.Probe().WallsErr)
	}
	t.Setenv("GOPROXY", "off") // modules that this machine has are taken; nobody is asked
	dir := t.TempDir()
	cache, err := OpenCache(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	if sandbox.Probe().Mounts() && !testing.Short() {
		made = true
		shared, err := library()
		if err == nil {
			err = errors.Join(os.RemoveAll(cache.path("go")), os.CopyFS(cache.path("go"), os.DirFS(filepath.Join(shared, "go"))))
		}
		if err := errors.Join(err, give(cache.path("go"))); err != nil {
			t.Fatal(err)
		}
	}
	src, err := source.New(source.Config{CacheDir: filepath.Join(dir, "git")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := RibosomeConfig{Cache: cache, Source: src, Timeout: 2 * time.Minute}
	if change != nil {
		change(&cfg)
	}
	r, err := NewRibosome(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
