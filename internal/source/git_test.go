//go:build !windows

package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestManifestOverSmartHTTP(t *testing.T) {
	for name, config := range map[string][]string{
		"a host that filters":      {"uploadpack.allowFilter=true"},
		"a host that does not":     {"uploadpack.allowFilter=false"},
		"a host of protocol 0":     {"uploadpack.allowFilter=false"},
		"0, with a useless filter": {"uploadpack.allowFilter=true"},
	} {
		r := exchange(t)
		commit := r.git("rev-parse", "HEAD")
		readme := r.git("rev-parse", "HEAD:README.md")
		srv := serve(t, r, config...)
		srv.v0 = strings.Contains(name, "0")
		s := newSource(t, Config{})
		m, err := s.Manifest(t.Context(), srv.url(), "v1.0.0")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkExchange(t, m, commit)
		// The refs, the refs once more with the commit, and all files together.
		if n := srv.posts.Load(); name == "a host that filters" && n > 4 {
			t.Errorf("%s: %d requests", name, n)
		}
		if has := cached(t, s, readme); has != (name != "a host that filters") {
			t.Errorf("%s: README.md was fetched: %v", name, has)
		}
	}
}

// The user's own way to use ssh is left as it is.
func TestManifestOverSSH(t *testing.T) {
	r := exchange(t)
	calls := filepath.Join(t.TempDir(), "calls")
	t.Setenv("GIT_SSH_VARIANT", "simple")
	t.Setenv("GIT_SSH_COMMAND", script(t, "echo \"$@\" >>"+calls+"\nexec git upload-pack "+r.dir+"\n"))
	for _, url := range []string{"git@cell-hub.acme.com:acme/exchange.git", "ssh://git@cell-hub.acme.com/acme/exchange"} {
		m, err := newSource(t, Config{}).Manifest(t.Context(), url, "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		checkExchange(t, m, r.git("rev-parse", "HEAD"))
	}
	data, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "git@cell-hub.acme.com git-upload-pack ") {
			t.Errorf("ssh was called with %s", line)
		}
	}
}

// cached reports whether an object is in a cached repository, without fetching it.
func cached(t *testing.T, s *Source, object string) bool {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.cfg.CacheDir, "git", "*", "objects"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	out, err := s.git(t.Context(), "/", "", "--git-dir="+filepath.Dir(dirs[0]), "-c", "remote.cell.promisor=false",
		"-c", "extensions.partialClone=", "cat-file", "--batch-check", "--batch-all-objects")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), object)
}

// Nothing is ever checked out, and nothing but the cache is written.
func TestNoWorkTree(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	r := exchange(t)
	before := tree(t, r.dir)
	s := newSource(t, Config{})
	if _, err := s.Manifest(t.Context(), r.dir, "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, r.dir); after != before {
		t.Errorf("the repository changed:\n%s\n%s", before, after)
	}
	if left := tree(t, home); left != "" {
		t.Errorf("written to the home folder: %s", left)
	}
	for line := range strings.SplitSeq(tree(t, s.cfg.CacheDir), "\n") {
		if base := filepath.Base(line); base == "README.md" || base == "Cell.toml" || base == "exchange.proto" {
			t.Errorf("checked out: %s", line)
		}
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			b.WriteString(path + " " + strconv.FormatInt(info.Size(), 10) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What the caller's environment says about repositories and commands does not reach git.
func TestEnvironmentIsScrubbed(t *testing.T) {
	pwn := filepath.Join(t.TempDir(), "pwn")
	evil := script(t, "touch "+pwn+"\n")
	for name, value := range map[string]string{
		"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/nonexistent", "GIT_INDEX_FILE": "/nonexistent",
		"GIT_OBJECT_DIRECTORY": "/nonexistent", "GIT_EXEC_PATH": filepath.Dir(evil), "GIT_EXTERNAL_DIFF": evil,
		"GIT_PAGER": evil, "GIT_EDITOR": evil, "GIT_PROXY_COMMAND": evil, "GIT_ALLOW_PROTOCOL": "ext",
		"GIT_CONFIG_PARAMETERS": "'core.fsmonitor'='" + evil + "'",
		"GIT_CONFIG_COUNT":      "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": evil,
		"GIT_TRACE": filepath.Join(filepath.Dir(pwn), "trace"),
	} {
		t.Setenv(name, value)
	}
	srv := serve(t, exchange(t), "uploadpack.allowFilter=true")
	if _, err := newSource(t, Config{}).Manifest(t.Context(), srv.url(), "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, filepath.Dir(pwn)); left != "" {
		t.Errorf("git did what the environment said: %s", left)
	}
	for _, v := range newSource(t, Config{}).gitEnv("https://h.org/a") {
		if strings.Contains(v, evil) {
			t.Errorf("git gets %s", v)
		}
	}
}

func TestProtocols(t *testing.T) {
	for url, want := range map[string]string{
		"https://h.org/a": "https:ssh", "git@h.org:a": "https:ssh", "ssh://h.org/a": "https:ssh",
		"/srv/git": "file", "file:///srv/git": "file", "http://localhost/a": "http", "git://localhost/a": "git",
	} {
		if got := protocols(url); got != want {
			t.Errorf("protocols(%s) = %s, want %s", url, got, want)
		}
	}
}

func TestNothingIsRunForHostileAddresses(t *testing.T) {
	pwn := filepath.Join(t.TempDir(), "pwn")
	s := newSource(t, Config{Git: script(t, "touch "+pwn+"\n")})
	for _, url := range []string{
		"", "-", "--upload-pack=touch x", "-oProxyCommand=touch x", "ext::sh -c id", "fd::3", "ssh://-oProxyCommand=x/a",
		"git@-oProxyCommand=x:a", "http://h.org/a", "git://h.org/a", "https://u:p@h.org/a", "https://h.org/../a", "h.org/a",
		"file://host/a", "relative/path", "./x", "https://h.org/a\nb",
	} {
		_, manifestErr := s.Manifest(t.Context(), url, "v1")
		_, resolveErr := s.Resolve(t.Context(), url, "v1")
		_, seedsErr := s.Seeds(t.Context(), url, "v1")
		_, atErr := s.ManifestAt(t.Context(), url, "v1", strings.Repeat("a", 40))
		for _, err := range []error{manifestErr, resolveErr, seedsErr, atErr} {
			if err == nil || !strings.HasPrefix(err.Error(), "manifest: ") {
				t.Errorf("%q: %v", url, err)
			}
		}
	}
	for _, tag := range []string{"", "--upload-pack=touch x", "-x", "^1", "a b", "a:b", "../x", "a\nb"} {
		if _, err := s.Manifest(t.Context(), "https://h.org/a", tag); err == nil {
			t.Errorf("tag %q was taken", tag)
		}
	}
	if _, err := os.Stat(pwn); err == nil {
		t.Error("git was run")
	}
}

// Giving up ends git and everything that git started.
func TestCancelEndsTheProcessGroup(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	s := newSource(t, Config{Git: script(t, "sleep 1000 &\necho $$ $! >"+pids+".new\nmv "+pids+".new "+pids+"\nwait\n")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := s.Resolve(ctx, "https://h.org/a", "v1"); done <- err }()
	var running []int
	for len(running) == 0 {
		select {
		case err := <-done:
			t.Fatalf("ended by itself: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		data, _ := os.ReadFile(pids)
		for _, f := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			running = append(running, pid)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, pid := range running {
		waitGone(t, pid)
	}
}

// waitGone waits for a process to end. A zombie that its parent has not collected yet has ended.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

func TestTimeLimit(t *testing.T) {
	s := newSource(t, Config{Git: script(t, "exec sleep 1000\n"), Timeout: 50 * time.Millisecond})
	_, err := s.Resolve(t.Context(), "https://h.org/a", "v1")
	var limit *LimitError
	if !errors.As(err, &limit) || !strings.Contains(err.Error(), "50ms") {
		t.Errorf("%v", err)
	}
}

func TestGitIsMissing(t *testing.T) {
	for _, git := range []string{"/absent/git", "no-such-command-git"} {
		_, err := newSource(t, Config{Git: git}).Resolve(t.Context(), "https://h.org/a", "v1")
		if err == nil || !strings.Contains(err.Error(), "install git") {
			t.Errorf("%v", err)
		}
	}
}

// What a host makes git say is one line without control characters, and without the user of the URL.
func TestRemoteMessagesAreMadeSafe(t *testing.T) {
	text := `printf 'remote: \033[31mhello\n\nfatal: repository https://token@h.org/a\033]0;x\007 is gone\nhint: x\n' >&2; exit 128`
	_, err := newSource(t, Config{Git: script(t, text), HTTPWait: time.Nanosecond}).Resolve(t.Context(), "https://token@h.org/a", "v1")
	var host *UnreachableError
	want := "source: https://h.org/a cannot be read: git ls-remote: fatal: repository https://h.org/a ]0;x  is gone"
	if !errors.As(err, &host) || err.Error() != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
	for _, flood := range []string{"yes | head -c 10000000 >&2; exit 1", "yes | head -c 10000000; exit 0"} {
		_, err := newSource(t, Config{Git: script(t, flood)}).Resolve(t.Context(), "https://h.org/a", "v1")
		if !errors.As(err, &host) || len(err.Error()) > 500 {
			t.Errorf("%v", err)
		}
	}
}

func TestLockWaitsAndGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := lockFile(t.Context(), path)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {CacheDir: "/dev/null/x"}, {CacheDir: "x", Timeout: -1}, {CacheDir: "x", HTTPWait: -1}, {CacheDir: "x", MaxBytes: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a refused configuration made a folder")
	}
}

func TestTheReasonIsShownAndNotWhatGitSaysBehindIt(t *testing.T) {
	const behind = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n"
	for said, want := range map[string]string{
		"fatal: '/x' does not appear to be a git repository\n" + behind: "fatal: '/x' does not appear to be a git repository",
		"git@host: Permission denied (publickey).\r\n" + behind:         "git@host: Permission denied (publickey).",
		"warning: a\nfatal: b\nhint: c\n":                               "fatal: b",
		behind:                                                          "fatal: Could not read from remote repository.",
	} {
		if got := (&tail{b: []byte(said)}).line(); got != want {
			t.Errorf("of %q it shows %q, want %q", said, got, want)
		}
	}
}
