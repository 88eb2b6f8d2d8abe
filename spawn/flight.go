package spawn

import "sync"

// flight is one start, for all who wait for it.
type flight struct {
	done    chan struct{}
	started Started // both are there when done is closed
	err     error

	mu    sync.Mutex
	steps []string
	more  chan struct{} // closed with the next step
}

func newFlight() *flight { return &flight{done: make(chan struct{}), more: make(chan struct{})} }

// step says that a step begins.
func (f *flight) step(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, name)
	close(f.more)
	f.more = make(chan struct{})
}

// after returns the steps behind the first n, and what is closed with the next one.
func (f *flight) after(n int) (steps []string, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps[n:], f.more
}

func (f *flight) end(started Started, err error) {
	f.started, f.err = started, err
	close(f.done)
}
