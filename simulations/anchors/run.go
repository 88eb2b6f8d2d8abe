package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// run is one row under way: the members of one contender in this process.
type run struct {
	row    Row
	course course
	lab    *lab
	base   memory // of the process before there were members

	mu      sync.Mutex
	members []member // alive and known to all
	started int
	result  Result
}

// measure runs a row from beginning to end.
func measure(ctx context.Context, row Row, c course) (Result, error) {
	r := &run{row: row, course: c, lab: &lab{census: newCensus()}, base: liveMemory()}
	r.result.Row = row
	err := r.all(ctx)
	for _, m := range r.members {
		m.silence() // nobody needs to hear of the others' end
	}
	var wg sync.WaitGroup
	errs := make([]error, len(r.members))
	for i, m := range r.members {
		wg.Go(func() { errs[i] = m.stop() })
	}
	wg.Wait()
	return r.result, errors.Join(err, errors.Join(errs...))
}

func (r *run) all(ctx context.Context) error {
	if err := r.gather(ctx); err != nil {
		return err
	}
	r.lab.wire.setLoss(r.row.Loss)
	if err := pause(ctx, r.course.settle); err != nil {
		return err
	}
	if err := r.idle(ctx); err != nil {
		return err
	}
	if err := r.newcomer(ctx); err != nil {
		return err
	}
	if err := r.kills(ctx); err != nil {
		return err
	}
	r.result.Mistakes = r.lab.census.mistakes()
	return nil
}

// start runs one more member, which knows nobody.
func (r *run) start(ctx context.Context) (member, error) {
	r.mu.Lock()
	r.started++
	number := r.started
	r.mu.Unlock()
	return contenders[r.row.Contender].start(ctx, r.lab, number)
}

// gather starts all members and then lets all of them join the first one at the same moment.
func (r *run) gather(ctx context.Context) error {
	for range r.row.Members {
		m, err := r.start(ctx)
		if err != nil {
			return err
		}
		r.members = append(r.members, m)
	}
	patient, cancel := context.WithTimeout(ctx, r.course.patience)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(r.members))
	for i, m := range r.members[1:] {
		wg.Go(func() { errs[i] = m.join(patient, r.members[0]) })
	}
	took, err := until(patient, r.lab.census.agreed)
	wg.Wait()
	if r.result.Converge = took.Seconds(); err != nil {
		r.result.Converge = -1
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// idle watches a while in which nothing happens.
func (r *run) idle(ctx context.Context) error {
	before, err := r.meter()
	if err != nil {
		return err
	}
	if err := pause(ctx, r.course.idle); err != nil {
		return err
	}
	after, err := r.meter()
	if err != nil {
		return err
	}
	held := liveMemory()
	members := float64(r.row.Members)
	seconds := after.at.Sub(before.at).Seconds()
	per := func(v float64) float64 { return v / members / seconds }
	r.result.Idle = Idle{
		Seconds: seconds, Wire: per(after.bytes - before.bytes), Packets: per(after.packets - before.packets),
		Frames:   per(float64(after.own.frames - before.own.frames)),
		Detector: per(float64(after.own.bytes - before.own.bytes)),
		CPU:      per((after.cpu - before.cpu).Seconds() * 1000),
		Heap:     (held.heap - r.base.heap) / 1024 / members, Stack: (held.stack - r.base.stack) / 1024 / members,
		Conns: float64(after.own.conns) / members, Mistakes: after.wrong.minus(before.wrong),
	}
	return nil
}

// reading is what all meters show at one moment.
type reading struct {
	at             time.Time
	bytes, packets float64
	cpu            time.Duration
	own            cost
	wrong          Mistakes
}

func (r *run) meter() (reading, error) {
	cpu, err := cpuTime()
	return reading{
		at: time.Now(), bytes: float64(r.lab.wire.bytes.Load()), packets: float64(r.lab.wire.packets.Load()),
		cpu: cpu, own: r.cost(), wrong: r.lab.census.mistakes(),
	}, err
}

// cost sums what the members count themselves.
func (r *run) cost() cost {
	var sum cost
	for _, m := range r.members {
		c := m.cost()
		sum.conns += c.conns
		sum.frames += c.frames
		sum.bytes += c.bytes
	}
	return sum
}

// newcomer adds a member to the cell and waits until it and the others know each other.
func (r *run) newcomer(ctx context.Context) error {
	m, err := r.start(ctx)
	if err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, r.course.patience)
	defer cancel()
	begun := time.Now()
	if err := m.join(patient, r.any()); err != nil {
		return errors.Join(err, m.stop())
	}
	_, err = until(patient, func() bool { return r.lab.census.known(m.id()) })
	took := time.Since(begun).Seconds()
	if err != nil {
		took = -1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, m)
	r.result.Newcomers = append(r.result.Newcomers, took)
	return ctx.Err()
}

// any returns a member that lives.
func (r *run) any() member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members[rand.N(len(r.members))]
}

// take removes a member that lives, to be killed.
func (r *run) take() member {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := rand.N(len(r.members))
	m := r.members[i]
	r.members = append(r.members[:i:i], r.members[i+1:]...)
	return m
}
