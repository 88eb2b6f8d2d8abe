package sandbox

import (
	"context"
	"sync"
)

// Process is a program that Start has started. Its methods are safe for concurrent use. If the process that called Start
// dies, however that happens, everything in the box dies with it.
type Process struct {
	pid     int
	layers  Layers
	control interface {
		Write([]byte) (int, error)
		Close() error
	}
	kill func()

	once   sync.Once
	done   chan struct{}
	status Status
	err    error
}

// PID is the number of the box's first process, which is the program's parent, and without walls on systems other than
// Linux the program itself.
func (p *Process) PID() int { return p.pid }

// Layers are those that this box has.
func (p *Process) Layers() Layers { return p.layers }

// Done is closed when nothing of the box is left to run, and its output is written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for that. The error is a *SetupError where the result could not be collected.
func (p *Process) Wait() (Status, error) {
	<-p.done
	return p.status, p.err
}

// Terminate asks everything in the box to end (SIGTERM), once. It does not wait.
func (p *Process) Terminate() {
	p.once.Do(func() { _, _ = p.control.Write([]byte{commandTerminate}) })
}

// Stop is Terminate, and Close when ctx ends. It returns when nothing is left: ctx's cause if it had to be killed.
func (p *Process) Stop(ctx context.Context) error {
	p.Terminate()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		_ = p.Close()
		return context.Cause(ctx)
	}
}

// Close kills everything in the box and returns when it has ended. It is idempotent.
func (p *Process) Close() error {
	p.kill()
	<-p.done
	return nil
}
