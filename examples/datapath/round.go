package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"
)

// A visit is what one load found on one path in both visits of a round.
type visit struct {
	took []time.Duration
	busy time.Duration // processor time of all processes
}

// round puts each load on each path, in a new order, and then once more in the reverse order, so that what changes
// steadily on the machine meanwhile falls on all paths alike.
func (s *stage) round(ctx context.Context, routes []route, number int, slice time.Duration) ([]Sample, error) {
	var samples []Sample
	for _, l := range loads {
		order := slices.Clone(routes)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		visits := map[string]*visit{}
		back := slices.Clone(order)
		slices.Reverse(back)
		begun, before := time.Now(), loadAverage()
		for _, r := range slices.Concat(order, back) {
			v := visits[r.name]
			if v == nil {
				v = &visit{}
				visits[r.name] = v
			}
			if err := s.visit(ctx, v, r, l, slice); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", r.name, l.name, err)
			}
		}
		for _, r := range routes {
			sample := visits[r.name].sample()
			sample.Path, sample.Load, sample.Round = r.name, l.name, number
			sample.Date, sample.Machine, sample.Go, sample.Busy = begun.UTC().Truncate(time.Second), machine(), runtime.Version(), before
			samples = append(samples, sample)
		}
	}
	return samples, nil
}

func (s *stage) visit(ctx context.Context, v *visit, r route, l load, slice time.Duration) error {
	before, err := s.processorTime()
	if err != nil {
		return err
	}
	took, err := l.run(ctx, r.client, slice)
	if err != nil {
		return err
	}
	after, err := s.processorTime()
	v.took = append(v.took, took...)
	v.busy += after - before
	return err
}

// processorTime is that of this process and all servers. Those that a load does not concern are idle.
func (s *stage) processorTime() (sum time.Duration, err error) {
	pids := []int{os.Getpid()}
	for _, cmd := range s.processes {
		pids = append(pids, cmd.Process.Pid)
	}
	for _, pid := range pids {
		t, err := processorTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func (v *visit) sample() Sample {
	slices.Sort(v.took)
	n := len(v.took)
	return Sample{
		Calls: n, P50: micros(v.took[n/2]), P99: micros(v.took[n*99/100]), CPU: micros(v.busy) / float64(n),
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
