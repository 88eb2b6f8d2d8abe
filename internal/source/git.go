package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxOutput bounds what is kept of a command's output, in bytes.
const maxOutput = 4 << 20

// gitConfig is set for every command and goes before all files of configuration. What lets git run other programs,
// reach into a work tree or write more than it was asked for is off; objects are checked as they come in.
var gitConfig = []string{
	"core.hooksPath=" + os.DevNull,
	"core.fsmonitor=false",
	"core.symlinks=false",
	"core.attributesFile=" + os.DevNull,
	"core.bigFileThreshold=1m", // larger blobs are streamed to disk instead of held in memory
	"core.commitGraph=false",
	"fetch.fsckObjects=true",
	"fetch.unpackLimit=1", // one pack file, which is what the size limit watches
	"fetch.recurseSubmodules=false",
	"fetch.writeCommitGraph=false",
	"fetch.showForcedUpdates=false",
	"submodule.recurse=false",
	"protocol.ext.allow=never",
	"http.followRedirects=initial",
	"gc.auto=0",
	"maintenance.auto=false",
	"init.defaultBranch=main",
	"init.templateDir=",
	"log.showSignature=false",
	"advice.detachedHead=false",
}

// kept is what of the caller's environment git gets to see: where programs, home, keys, agents, proxies, certificates and
// the user's own way to log in are found. Nothing that names a repository, and no GIT_* beyond these.
var kept = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ",
	"XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME",
	"SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS",
	"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE",
	"SYSTEMROOT", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "TEMP", "TMP",
}

// gitEnv is the whole environment of a git command that reads url.
func (s *Source) gitEnv(url string) []string {
	env := []string{
		"GIT_TERMINAL_PROMPT=0",
		"GCM_INTERACTIVE=never",
		"GIT_ALLOW_PROTOCOL=" + protocols(url),
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(s.cfg.CacheDir),
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_LFS_SKIP_SMUDGE=1",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_ALLOC_LIMIT=512m", // one allocation: a delta that claims to unpack to gigabytes ends here
		"LC_ALL=C",
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(kept, name) {
			env = append(env, v)
		}
	}
	return env
}

// protocols are those that git may speak for a URL. https and ssh go together because people rewrite one to the other in
// their own configuration; a redirect or a rewriting to anything else is refused by git.
func protocols(url string) string {
	switch {
	case isDisk(url):
		return "file"
	case strings.HasPrefix(url, "http://"):
		return "http"
	case strings.HasPrefix(url, "git://"):
		return "git"
	}
	return "https:ssh"
}

func isDisk(url string) bool {
	return strings.HasPrefix(url, "/") || strings.HasPrefix(url, "file://")
}

// gitError is a git command that failed.
type gitError struct {
	command string
	stderr  string // its last words, on one line
	err     error
}

func (e *gitError) Error() string {
	if e.stderr != "" {
		return fmt.Sprintf("git %s: %s", e.command, e.stderr)
	}
	return fmt.Sprintf("git %s: %v", e.command, e.err)
}

func (e *gitError) Unwrap() error { return e.err }

// command prepares a git command on the bare repository dir ("" for none). It ends with ctx, and everything that it
// started ends with it.
func (s *Source) command(ctx context.Context, url, dir string, args ...string) (*exec.Cmd, *tail) {
	all := []string{"--no-pager", "--no-optional-locks", "--no-replace-objects", "--literal-pathspecs"}
	if dir != "" {
		all = append(all, "--git-dir="+dir)
	}
	for _, c := range gitConfig {
		all = append(all, "-c", c)
	}
	_ = os.MkdirAll(s.cfg.CacheDir, 0o700) // someone may have emptied the cache; if not, starting fails and says so
	cmd := exec.CommandContext(ctx, s.cfg.Git, append(all, args...)...)
	cmd.Dir = s.cfg.CacheDir
	cmd.Env = s.gitEnv(url)
	cmd.WaitDelay = 2 * time.Second // for pipes that a grandchild still holds
	words := &tail{}
	cmd.Stderr = words
	ownGroup(cmd)
	return cmd, words
}

// git runs a command to its end and returns its output. A failure is a *gitError, a *LimitError or the context's error.
func (s *Source) git(ctx context.Context, url, dir string, args ...string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	cmd, words := s.command(bounded, url, dir, args...)
	var out bytes.Buffer
	cmd.Stdout = &limited{w: &out, left: maxOutput}
	err := cmd.Run()
	s.cfg.Log.Debug("git", "command", args[0], "url", shown(url), "err", err)
	if err != nil {
		return nil, s.failure(ctx, bounded, url, args[0], words, err)
	}
	return out.Bytes(), nil
}

// failure tells why a command ended: the caller gave up, a limit was met, or git itself failed.
func (s *Source) failure(ctx, bounded context.Context, url, command string, words *tail, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errTooLarge):
		return s.tooLarge(url)
	case ctx.Err() != nil:
		return fmt.Errorf("source: %s: %w", shown(url), context.Cause(ctx))
	case bounded.Err() != nil:
		return &LimitError{URL: shown(url), Limit: s.cfg.Timeout.String()}
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("source: %w: install git, or put it on the PATH", err)
	}
	return &gitError{command: command, stderr: strings.ReplaceAll(words.line(), url, shown(url)), err: err}
}

// shown is a URL for messages and logs, without the user, which may be a token.
func shown(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	return scheme + "://" + authority + "/" + path
}

// limited passes on the first bytes and then fails, which ends the command.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("too much output")
	}
	l.left -= len(p)
	return l.w.Write(p)
}

// tail keeps the last bytes of a command's messages.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 2 << 10
	t.b = append(t.b, p...)
	if len(t.b) > keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(p), nil
}

// line is what git said last that matters, made safe for a terminal: a remote host writes into it.
func (t *tail) line() string {
	var best string
	for line := range strings.SplitSeq(string(t.b), "\n") {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" && (best == "" || !isFatal(best) || isFatal(line)) {
			best = line
		}
	}
	if len(best) > 300 {
		best = best[:300] + "…"
	}
	return best
}

func isFatal(line string) bool {
	return strings.HasPrefix(line, "fatal:") || strings.HasPrefix(line, "error:")
}

func printable(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
		return ' '
	}
	return r
}
