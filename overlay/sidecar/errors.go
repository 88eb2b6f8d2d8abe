package sidecar

import (
	"errors"
	"fmt"
	"os"
)

// Errors of StartCommand.
var (
	// ErrNotReady says that a service runs but does not listen where it should.
	ErrNotReady = errors.New("sidecar: service not ready")
	// ErrUnsupported says that this system cannot start services.
	ErrUnsupported = errors.New("sidecar: this system cannot start services: start yours and use --upstream")
)

// ExitError says that a service ended by itself.
type ExitError struct {
	Program string
	State   *os.ProcessState // nil if that is unknown
	Tail    string           // the last of what it wrote to its standard error, at most 4 KiB
}

func (e *ExitError) Error() string {
	state := "ended"
	if e.State != nil {
		state = e.State.String()
	}
	return fmt.Sprintf("sidecar: %s ended by itself: %s%s", e.Program, state, lastWords(e.Tail))
}
