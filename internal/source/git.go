package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
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
	out, _, err := s.run(ctx, url, dir, args...)
	return out, err
}

// run is git for callers that want to see what it said.
func (s *Source) run(ctx context.Context, url, dir string, args ...string) ([]byte, *tail, error) {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	cmd, words := s.command(bounded, url, dir, args...)
	var out bytes.Buffer
	cmd.Stdout = &limited{w: &out, left: maxOutput}
	err := cmd.Run()
	command := args[0]
	if command == "-c" { // and a setting
		command = args[2]
	}
	s.cfg.Log.Debug("git", "command", command, "url", shown(url), "err", err)
	if err != nil {
		return nil, words, s.failure(ctx, bounded, url, command, words, err)
	}
	return out.Bytes(), words, nil
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
