package source

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// ErrOffline says that something is neither on this disk nor in the cache, and that Config.Offline forbids asking for it.
var ErrOffline = errors.New("source: not in the cache, and offline")

// UnreachableError says that a repository's host did not answer, or refused to.
type UnreachableError struct {
	URL string
	Err error // what git or the network said
}

// Error names the repository and what git said.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("source: %s cannot be read: %v", e.URL, e.Err)
}

// Unwrap is what git or the network said.
func (e *UnreachableError) Unwrap() error { return e.Err }

// NoTagError says that a repository answered and has no such tag.
type NoTagError struct {
	URL     string
	Tag     string
	Nearest []string // existing tags that resemble it most, best first; at most three
}

// Error names the tags that exist.
func (e *NoTagError) Error() string {
	text := fmt.Sprintf("source: %s has no tag %q", e.URL, e.Tag)
	if len(e.Nearest) > 0 {
		text += fmt.Sprintf(" (nearest: %s)", strings.Join(e.Nearest, ", "))
	}
	return text
}

// ContentError says that what a repository holds at a tag is not what a cell may publish. Asking again does not help.
type ContentError struct {
	URL string
	At  string // tag, ref or commit
	Err error
}

// Error names the repository, the tag and the fault.
func (e *ContentError) Error() string { return fmt.Sprintf("source: %s at %s: %v", e.URL, e.At, e.Err) }

// Unwrap is the fault, such as a *manifest.FileError.
func (e *ContentError) Unwrap() error { return e.Err }

// LimitError says that a repository is larger, or slower, than Config allows.
type LimitError struct {
	URL   string
	Limit string // which one, with its value
}

// Error names the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("source: %s: stopped at the limit of %s", e.URL, e.Limit)
}

// MovedError says that a tag is at another commit than the one that was recorded for it.
type MovedError struct {
	Cell manifest.Cell
	Want string // the recorded commit
	Have string // the commit it is at now
}

// Error shows both commits.
func (e *MovedError) Error() string {
	return fmt.Sprintf("source: tag %s of %s moved: Cell.lock has %s, the repository %s; "+
		"if that is meant, accept it with --update", e.Cell.Tag, e.Cell.Repository, e.Want, e.Have)
}

// CheckCommit is nil when a tag is where it was recorded, or nothing was recorded, and a *MovedError otherwise.
func CheckCommit(cell manifest.Cell, want, have string) error {
	if want == "" || want == have {
		return nil
	}
	return &MovedError{Cell: cell, Want: want, Have: have}
}
