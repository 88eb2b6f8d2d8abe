//go:build amd64 || arm64

package main

import (
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
)

// kills is how many times TestKilledAtAnyChange kills the command: with -long as many as the project promises.
func kills() int {
	switch {
	case *long:
		return 1000
	case testing.Short():
		return 6
	}
	return 24
}

// TestKilledAtAnyChange kills a node, git included, at its changes of the disk: creating, writing, flushing, linking,
// renaming, removing. Whatever is on disk then is whole, the next start succeeds without a word, and the node is the
// same peer with a later incarnation.
func TestKilledAtAnyChange(t *testing.T) {
	if err := traceable(t); err != nil {
		t.Skipf("this machine does not let a process trace its children: %v", err)
	}
	v := newVictim(t)
	v.home, v.peer, v.last = filepath.Join(v.homes, "0"), "", 0
	fresh := v.plan(t, true)
	again := v.plan(t, false)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("%d changes in a new home, %d in a used one; seed %d", len(fresh), len(again), seed)
	died := map[moment]int{}
	for i := range kills() {
		anew := i%2 == 0
		changes := len(again)
		if anew {
			v.home, v.peer, v.last = filepath.Join(v.homes, strconv.Itoa(i+1)), "", 0
			changes = len(fresh)
		}
		tr := &trace{Roots: []string{v.home}, Kill: 1 + at(i/6, kills()/6, changes, random), When: moment(i % 6 / 2)}
		what := v.kill(t, tr)
		if tr.Died {
			died[tr.When]++
		}
		v.check(t, what)
		if t.Failed() {
			return
		}
	}
	t.Logf("died %v", died)
	v.checkCleared(t)
}

// at is the change at which round i of n kills: they go through all changes, and then again at random.
func at(i, n, changes int, random *rand.Rand) int {
	if n < changes {
		return i*changes/max(n, 1) + random.IntN(max(1, changes/max(n, 1)))
	}
	if i < changes {
		return i
	}
	return random.IntN(changes)
}
