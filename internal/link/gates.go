package link

import (
	"context"
	"sync"
)

// gates are locks by key that a context can stop waiting for.
type gates struct {
	mu sync.Mutex
	m  map[place]*gate
}

type gate struct {
	ch    chan struct{} // holds the key
	users int
}

func (g *gates) lock(ctx context.Context, key place) (unlock func(), err error) {
	g.mu.Lock()
	if g.m == nil {
		g.m = map[place]*gate{}
	}
	k := g.m[key]
	if k == nil {
		k = &gate{ch: make(chan struct{}, 1)}
		g.m[key] = k
	}
	k.users++
	g.mu.Unlock()
	leave := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(g.m, key)
		}
	}
	select {
	case k.ch <- struct{}{}:
		return func() { <-k.ch; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
