package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A load is what a client does with a path.
type load struct {
	name    string
	size    int // of the payload, there and back; 0: one stream of streamSize
	callers int // each waits for its answer before it calls again
}

var loads = []load{
	{"100 B, 1 caller", 100, 1},
	{"100 B, 64 callers", 100, 64},
	{"16 KiB, 1 caller", 16 << 10, 1},
	{"16 KiB, 64 callers", 16 << 10, 64},
	{"64 MiB stream", 0, 1},
}

// run puts the load on a path for a time, or for one stream, and returns how long each call took.
func (l load) run(ctx context.Context, client *echo, slice time.Duration) ([]time.Duration, error) {
	if l.size == 0 {
		begun := time.Now()
		err := client.stream(ctx)
		return []time.Duration{time.Since(begun)}, err
	}
	var wg sync.WaitGroup
	took, errs := make([][]time.Duration, l.callers), make([]error, l.callers)
	end := time.Now().Add(slice)
	for i := range l.callers {
		wg.Go(func() { took[i], errs[i] = l.loop(ctx, client, end) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(took...), nil
}

// loop calls until the end.
func (l load) loop(ctx context.Context, client *echo, end time.Time) (took []time.Duration, err error) {
	request := newRequest(l.size)
	for begun := time.Now(); begun.Before(end); {
		if err := client.call(ctx, request); err != nil {
			return nil, err
		}
		now := time.Now()
		took = append(took, now.Sub(begun))
		begun = now
	}
	return took, nil
}
