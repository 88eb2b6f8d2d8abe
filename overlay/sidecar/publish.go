package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// A SeedWriter reads and writes the seed list in the repository of a cell, as a source.Source does.
type SeedWriter interface {
	PublishedSeeds(ctx context.Context, url string, cell manifest.Cell) (list *manifest.SeedList, at string, err error)
	PushSeeds(ctx context.Context, url string, cell manifest.Cell, list *manifest.SeedList, at string) error
}

// cellmates is what the publisher needs of an instance.
type cellmates interface {
	Seeds() []manifest.Seed
	Rank() int
	WatchSeeds(ctx context.Context, f func()) error
	Answers(ctx context.Context, s manifest.Seed) bool
	Meet(seeds []manifest.Seed)
}

// The pace of the publisher. Every instance that may write waits its turn and then finds the list already right, or
// writes it: so one of them writes, and if that one dies the next does, without their having to know who of them may.
const (
	pushEvery  = time.Minute      // between two writes of a list, by whomever
	pushSettle = time.Second      // after a change: they come in bursts
	pushTurn   = 2 * time.Second  // more for each member that comes before, and
	pushTurns  = 10               // no more than for so many
	pushCheck  = 10 * time.Minute // between two looks at a list that nothing has changed
	pushRenew  = 12 * time.Hour   // a list this old is written anew: its records live 24 hours
	pushProbe  = 3 * time.Second  // for an instance to answer that the list has and we do not know
	pushProbes = 16               // of these at once
	pushLead   = 5 * time.Second  // before a minute is over the strangers on the list are asked: then it can be written at once
)

// publisher keeps the seed list in the cell's repository true. Who is listed there and unknown to us is asked before it
// is taken off: we may have just started, or be cut off from the others.
type publisher struct {
	cell   manifest.Cell
	url    string
	mates  cellmates
	writer SeedWriter
	log    *slog.Logger
	failed bool // the last round did; said once
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		for ctx.Err() == nil { // a watch that fell behind begins anew
			if err := p.mates.WatchSeeds(ctx, func() { nudge(changed) }); err != nil && ctx.Err() == nil {
				p.log.Debug("watching the cell anew", "err", err)
			}
		}
	})
	wait := p.turn()
	for sleep(ctx, wait) {
		drain(changed)
		wait = p.round(ctx)
		if wait > 0 {
			continue
		}
		select {
		case <-changed:
		case <-time.After(pushCheck):
		case <-ctx.Done():
			return
		}
		wait = p.turn()
	}
}

func (p *publisher) turn() time.Duration {
	return pushSettle + time.Duration(min(p.mates.Rank(), pushTurns))*pushTurn
}

// round compares the list with who is alive and writes it if need be. It returns after what time to try again; 0 when the
// list is right.
func (p *publisher) round(ctx context.Context) time.Duration {
	published, at, err := p.writer.PublishedSeeds(ctx, p.url, p.cell)
	if err != nil {
		return p.fail(ctx, err)
	}
	strangers := p.strangers(ctx, published)
	if len(strangers) > 0 {
		p.mates.Meet(published.Instances)
	}
	if published != nil {
		age := time.Since(published.Updated)
		if age < pushRenew && sameSeeds(published.Instances, p.alive(strangers)) {
			p.failed = false
			return 0
		}
		if age >= 0 && age < pushEvery-pushLead {
			return pushEvery - pushLead - age
		}
		if age >= 0 && !sleep(ctx, max(0, pushEvery-age)) {
			return 0
		}
	}
	list := &manifest.SeedList{Cell: p.cell.ID(), Updated: time.Now().UTC().Truncate(time.Second), Instances: p.alive(strangers)}
	if len(list.Instances) == 0 { // we are leaving, and nobody else is there: the last list is the best that there is
		return 0
	}
	err = p.writer.PushSeeds(ctx, p.url, p.cell, list, at)
	var stale *source.StaleError
	switch {
	case errors.As(err, &stale):
		return p.turn()
	case err != nil:
		return p.fail(ctx, err)
	}
	p.failed = false
	p.log.Info("seed list written", "cell", p.cell.String(), "instances", len(list.Instances))
	return 0
}

func (p *publisher) fail(ctx context.Context, err error) time.Duration {
	level := slog.LevelWarn
	if p.failed {
		level = slog.LevelDebug
	}
	if ctx.Err() == nil {
		p.log.Log(ctx, level, "the seed list is not written", "cell", p.cell.String(), "err", err)
	}
	p.failed = true
	return pushEvery
}

// alive lists whom we know to live, and then the strangers.
func (p *publisher) alive(strangers []manifest.Seed) []manifest.Seed {
	list := p.mates.Seeds()
	for _, s := range strangers {
		if !hasPeer(list, s.Peer) {
			list = append(list, s)
		}
	}
	return list[:min(len(list), manifest.MaxSeeds)]
}

// strangers lists of those published whom we do not know, and who answer.
func (p *publisher) strangers(ctx context.Context, published *manifest.SeedList) []manifest.Seed {
	if published == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pushProbe)
	defer cancel()
	var (
		known   = p.mates.Seeds()
		answers = make([]bool, len(published.Instances))
		slots   = make(chan struct{}, pushProbes)
		wg      sync.WaitGroup
	)
	for i, s := range published.Instances {
		if hasPeer(known, s.Peer) {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i] = p.mates.Answers(ctx, s)
		})
	}
	wg.Wait()
	var list []manifest.Seed
	for i, s := range published.Instances {
		if answers[i] {
			list = append(list, s)
		}
	}
	return list
}

func hasPeer(list []manifest.Seed, id peer.ID) bool {
	return slices.ContainsFunc(list, func(s manifest.Seed) bool { return s.Peer == id })
}

// sameSeeds compares peers and addresses; records are renewed now and then.
func sameSeeds(a, b []manifest.Seed) bool {
	if len(a) != len(b) {
		return false
	}
	addrs := make(map[peer.ID][]ma.Multiaddr, len(a))
	for _, s := range a {
		addrs[s.Peer] = s.Addrs
	}
	return !slices.ContainsFunc(b, func(s manifest.Seed) bool {
		old, ok := addrs[s.Peer]
		return !ok || len(old) != len(s.Addrs) || slices.ContainsFunc(s.Addrs, func(x ma.Multiaddr) bool { return !slices.ContainsFunc(old, x.Equal) })
	})
}

// sleep waits and reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}
