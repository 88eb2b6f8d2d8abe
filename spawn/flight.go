package spawn

import (
	"sync"
	"time"
)

// Step is a part of a build and start, such as fetch, modules, compile, start.
type Step struct {
	Name string
	Took time.Duration
}

// flight is one start, for all who wait for it.
type flight struct {
	done    chan struct{}
	started Started // both are there when done is closed
	err     error

	mu    sync.Mutex
	steps []string
	began []time.Time   // of each step
	more  chan struct{} // closed with the next step
}

func newFlight() *flight { return &flight{done: make(chan struct{}), more: make(chan struct{})} }

// step says that a step begins.
func (f *flight) step(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.began = append(f.steps, name), append(f.began, time.Now())
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
	started.Steps = f.timed(time.Now())
	f.started, f.err = started, err
	close(f.done)
}

// timed returns the steps; each lasts until the next one begins.
func (f *flight) timed(end time.Time) []Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Step
	for i, name := range f.steps {
		until := end
		if i+1 < len(f.began) {
			until = f.began[i+1]
		}
		list = append(list, Step{name, until.Sub(f.began[i])})
	}
	return list
}
