package main

import (
	"context"
	"sync"
	"time"
)

// news is what one member has learnt of another.
type news uint8

const (
	listed    news = iota // it is a member
	unlisted              // it is no longer one: dead, left or expired
	suspected             // an own look at it has failed; it is still a member
)

// Death is one silent kill, in seconds from it.
type Death struct {
	// First is when the first survivor suspected it; negative if none did before it was off every list.
	First float64 `json:"first"`
	// All is when the last of the survivors took it off its list; negative if one still had it at the end.
	All float64 `json:"all"`
}

// death is a Death that others may still have to hear of.
type death struct {
	at          time.Time
	first, last time.Time
	waiting     map[string]bool // the living that list it still
	done        chan struct{}   // closed when waiting has become empty
}

// census knows which member lists whom, and compares it with who is alive. Its methods may be called by many
// goroutines.
type census struct {
	mu     sync.Mutex
	lists  map[string]map[string]bool // of the living
	deaths map[string]*death
	wrong  Mistakes
}

// Mistakes counts what was said of members that were alive, once for each member that said so.
type Mistakes struct {
	Dead    int `json:"dead"`    // taken off a list
	Suspect int `json:"suspect"` // suspected, and still listed
}

func (m Mistakes) minus(o Mistakes) Mistakes { return Mistakes{m.Dead - o.Dead, m.Suspect - o.Suspect} }

func newCensus() *census {
	return &census{lists: make(map[string]map[string]bool), deaths: make(map[string]*death)}
}

// born counts a member in. Its own news must not come before.
func (c *census) born(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists[id] = make(map[string]bool)
}

// killed counts a member out: from now on nobody asks what it lists, and whoever lists it is behind.
func (c *census) killed(id string, at time.Time) *death {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lists, id)
	for _, d := range c.deaths {
		d.strike(id, at)
	}
	d := &death{at: at, waiting: make(map[string]bool), done: make(chan struct{})}
	for o, l := range c.lists {
		if l[id] {
			d.waiting[o] = true
		}
	}
	c.deaths[id] = d
	return d
}

// strike takes one off those that a death waits for.
func (d *death) strike(id string, at time.Time) {
	if !d.waiting[id] {
		return
	}
	delete(d.waiting, id)
	d.last = at
	if len(d.waiting) == 0 {
		close(d.done)
	}
}

// learn takes one piece of news that by, a member, has about another one.
func (c *census) learn(by string, at time.Time, what news, about string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.lists[by]
	if list == nil {
		return // the dead say nothing
	}
	alive, d := c.lists[about] != nil, c.deaths[about]
	switch what {
	case listed:
		list[about] = true
	case unlisted:
		if alive && list[about] {
			c.wrong.Dead++
		}
		delete(list, about)
		if d != nil {
			d.strike(by, at)
		}
	case suspected:
		if alive {
			c.wrong.Suspect++
		} else if d != nil && d.first.IsZero() {
			d.first = at
		}
	}
}

// known reports whether every living member lists id and id lists every living member.
func (c *census) known(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for o, l := range c.lists {
		if !l[id] || !c.lists[id][o] {
			return false
		}
	}
	return true
}

// agreed reports whether every living member lists every living member.
func (c *census) agreed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lists {
		for id := range c.lists {
			if !l[id] {
				return false
			}
		}
	}
	return true
}

// mistakes returns the count so far.
func (c *census) mistakes() Mistakes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}

// result returns how a death went so far.
func (c *census) result(d *death) Death {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Death{First: -1, All: -1}
	if !d.first.IsZero() {
		out.First = d.first.Sub(d.at).Seconds()
	}
	if len(d.waiting) == 0 && !d.last.IsZero() {
		out.All = d.last.Sub(d.at).Seconds()
	}
	return out
}

// until asks every few milliseconds whether something has come true, which bounds the resolution of the times that
// are measured with it, and returns how long that took.
func until(ctx context.Context, ok func() bool) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return time.Since(start), ctx.Err()
		case <-tick.C:
		}
	}
	return time.Since(start), nil
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
