package sidecar

import (
	"errors"
	"fmt"
	"os"

	"github.com/cellnode/cellnode/manifest"
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

// InterfaceError says that a service contradicts the interface of the cell whose instance it is to be.
type InterfaceError struct {
	Cell manifest.Cell
	Err  error // names the members, see reflection.ContradictionError
}

func (e *InterfaceError) Error() string {
	return fmt.Sprintf("sidecar: the service is no instance of %s: %v; start the service that was built at this tag, or publish its interface under a tag of its own", e.Cell, e.Err)
}

func (e *InterfaceError) Unwrap() error { return e.Err }
