package source

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

const (
	exchangeToml  = "[package]\nname = \"exchange\"\ninterface = [\"proto/exchange.proto\"]\n"
	exchangeProto = "syntax = \"proto3\";\npackage acme;\nimport \"money.proto\";\n" +
		"service Exchange { rpc Quote(Money) returns (Money); }\n"
	moneyProto = "syntax = \"proto3\";\npackage acme;\nmessage Money { int64 units = 1; }\n"
)

// repo is a real repository, made by the git command.
type repo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB, args ...string) *repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "exchange")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git(append([]string{"init", "--quiet"}, args...)...)
	return r
}

// template is made once and copied for each test.
var template string

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if template != "" {
		os.RemoveAll(template)
	}
	os.Exit(code)
}

// exchange is a repository with a cell at v1.0.0.
func exchange(t testing.TB) *repo {
	t.Helper()
	if template == "" {
		dir, err := os.MkdirTemp("", "cell-source")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(makeExchange(t).dir)); err != nil {
			t.Fatal(err)
		}
		template = dir
	}
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "exchange")}
	if err := os.CopyFS(r.dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	return r
}

func makeExchange(t testing.TB, args ...string) *repo {
	r := newRepo(t, args...)
	r.write("Cell.toml", exchangeToml)
	r.write("proto/exchange.proto", exchangeProto)
	r.write("proto/money.proto", moneyProto)
	r.write("README.md", strings.Repeat("nobody reads this\n", 100))
	r.commit("v1.0.0")
	return r
}

// git runs a command in the repository, always with the same author and time, so that commits have the same names.
func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "core.hooksPath=" + os.DevNull}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-11-22T20:00:00Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-11-22T20:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) write(path, text string) {
	r.t.Helper()
	full := filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repo) link(path, target string) {
	r.t.Helper()
	if err := os.RemoveAll(filepath.Join(r.dir, path)); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(r.dir, path)); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits everything and puts the tag there, also if it was elsewhere.
func (r *repo) commit(tag string) string {
	r.t.Helper()
	r.git("add", "--all", "--force", ".")
	r.git("commit", "--quiet", "--allow-empty", "--message", "m")
	if tag != "" {
		r.git("tag", "--force", tag)
	}
	return r.git("rev-parse", "HEAD")
}

// ref points ref at a commit of its own that holds the files and nothing else.
func (r *repo) ref(ref string, files map[string]string) {
	r.t.Helper()
	was := r.git("rev-parse", "--abbrev-ref", "HEAD")
	r.git("checkout", "--quiet", "--orphan", "seeds-in-work")
	r.git("rm", "-r", "--quiet", "--force", ".")
	for path, text := range files {
		r.write(path, text)
	}
	commit := r.commit("")
	r.git("checkout", "--quiet", "--force", was)
	r.git("update-ref", ref, commit)
	r.git("branch", "--quiet", "-D", "seeds-in-work")
}

func newSource(t testing.TB, c Config) *Source {
	t.Helper()
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(t.TempDir(), "cache")
	}
	if c.Log == nil && os.Getenv("CELL_TEST_LOG") != "" {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// script is a command that stands in for git.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "git")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *repo) shell(command string) {
	r.t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
