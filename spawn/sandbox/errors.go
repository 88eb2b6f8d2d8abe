package sandbox

import (
	"errors"
	"fmt"
)

// ErrNoLayers says that this machine has nothing to shut a program in with.
var ErrNoLayers = errors.New("sandbox: this machine has neither namespaces nor Landlock to shut a program in with")

// Reasons why a program in a box was ended by us; see Status.
const (
	ReasonMemory = "memory" // it used more than Limits.Memory
	ReasonOwner  = "owner"  // its owner closed it, or died
)

// SetupError says why a box could not be put up, or its result not be collected. The program has not run, or its
// result is of no use.
type SetupError struct{ Problem string }

// Error is what init said.
func (e *SetupError) Error() string { return "sandbox: " + e.Problem }

// Status is how a program has ended.
type Status struct {
	Code   int    // its exit code; -1: a signal has ended it
	Signal int    // that signal's number; 0: none
	Reason string // why it was ended by us; empty: it ended by itself, or as it was asked to by Terminate
}

// OK says whether it ended by itself, well.
func (s Status) OK() bool { return s.Code == 0 && s.Reason == "" }

// String is one clause: "exit code 2".
func (s Status) String() string {
	switch {
	case s.Reason == ReasonMemory:
		return "ended for using more memory than it may"
	case s.Reason != "":
		return "ended with its owner"
	case s.Signal != 0:
		return fmt.Sprintf("ended by signal %d", s.Signal)
	}
	return fmt.Sprintf("exit code %d", s.Code)
}
