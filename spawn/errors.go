package spawn

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoSandbox says that this machine has nothing to shut a cell in with, and that the policy does not allow it to go
// without.
var ErrNoSandbox = errors.New("spawn: there is no sandbox on this machine (`cellnode doctor` says why): " +
	"write sandbox = \"none\" under the cell's policy to run its code with all that you may do")

// BuildError says why a cell's repository does not build. Trying again does not help unless its Limit was a time.
type BuildError struct {
	Cell   string // repository@tag
	Step   string // "modules", "compile" or "output"
	Reason string // one clause
	Output string // the last lines of what the step said; may be empty
}

// Error is one line.
func (e *BuildError) Error() string {
	return fmt.Sprintf("spawn: %s does not build: %s: %s%s", e.Cell, e.Step, e.Reason, lastWords(e.Output))
}

// DamagedError says that a file of the cache is not what was put there. It has been taken out, so that the next build
// makes it anew.
type DamagedError struct {
	Path       string
	Want, Have string // SHA-256, hex
}

// Error names the file and both hashes.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("spawn: %s is damaged (SHA-256 %s, want %s) and was removed: try again", e.Path, e.Have, e.Want)
}

// lastWords renders the last lines of what a program said as the end of an error, or nothing.
func lastWords(text string) string {
	const most = 10
	text = strings.TrimSpace(strings.Map(printable, text))
	if text == "" {
		return ""
	}
	const mostBytes = 2 << 10
	text = strings.ToValidUTF8(text[max(0, len(text)-mostBytes):], "")
	lines := strings.Split(text, "\n")
	return fmt.Sprintf("; last it wrote: %q", strings.Join(lines[max(0, len(lines)-most):], "\n"))
}

// printable drops what a terminal would act upon.
func printable(r rune) rune {
	if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
		return -1
	}
	return r
}
