package source

import (
	"errors"
	"io"
	"strings"
	"unicode"
)

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

// unread is what git says of a host that has not let it in, or that another program could not reach; the reason stands before.
const unread = "fatal: Could not read from remote repository."

// line is what git said last that matters, made safe for a terminal: a remote host writes into it.
func (t *tail) line() string {
	var best string
	for line := range strings.SplitSeq(string(t.b), "\n") {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line == unread && best != "" {
			break // and advice that has nothing to do with why
		}
		if line != "" && (best == "" || !isFatal(best) || isFatal(line)) {
			best = line
		}
	}
	if len(best) > 300 {
		best = best[:300] + "…"
	}
	return best
}

// rejection is why a push of one ref was not taken, or empty: git says it on a line of its own.
func (t *tail) rejection() string {
	for line := range strings.SplitSeq(string(t.b), "\n") {
		if line = strings.TrimSpace(strings.Map(printable, line)); strings.HasPrefix(line, "! [") {
			return line[:min(len(line), 300)]
		}
	}
	return ""
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
