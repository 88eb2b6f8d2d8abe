//go:build !windows

package sidecar

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/link"
)

func TestLeaveLetsTheCallsUnderWayFinish(t *testing.T) {
	dir, socket := newHome(t), socketPath(t)
	newEcho(t, socket)
	s := startBeside(t, dir, socket)
	call, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, call)
	left := make(chan error, 1)
	go func() { left <- s.Leave(context.Background()) }()
	until(t, "it leaves", func() bool { return stateOf(s) == "leaving" })

	_, err = open(t, s)
	var refused *link.Refused
	if !errors.As(err, &refused) || refused.Code != link.CodeDraining {
		t.Errorf("a new call: %v, want a refusal", err)
	}
	ask(t, call) // the old one goes on
	select {
	case err := <-left:
		t.Fatalf("Leave has not waited for it: %v", err)
	default:
	}
	call.Close()
	if err := <-left; err != nil {
		t.Error(err)
	}
	if err := s.Leave(t.Context()); err != nil {
		t.Errorf("a second Leave: %v", err)
	}
}

func TestLeaveWaitsNoLongerThanItMay(t *testing.T) {
	dir, socket := newHome(t), socketPath(t)
	newEcho(t, socket)
	s := startBeside(t, dir, socket)
	call, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, call)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(call); err == nil {
		t.Error("the call was cut off, and the client cannot tell that from its end")
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	cfg := Config{Instance: newInstance(t), Home: newHome(t)}
	playing(&cfg, "serves")
	life, reports := lives(t)
	cfg.Instance.Env["SIDECAR_TEST_LIFE"] = life
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	await(t, reports, "serves")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	await(t, reports, "serves ended")
	if left := files(t, cfg.Home.Path("run")); len(left) != 0 {
		t.Errorf("left in run: %v", left)
	}
	again, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Node().ID() != s.Node().ID() {
		t.Error("the same instance has come back as another peer")
	}
	await(t, reports, "serves")
}

func TestInstancesOfOneHomeAreAsManyPeers(t *testing.T) {
	dir := newHome(t)
	seen := map[string]bool{}
	for range 3 {
		socket := socketPath(t)
		newEcho(t, socket)
		seen[startBeside(t, dir, socket).Node().ID().String()] = true
	}
	list, err := dir.Running()
	if err != nil || len(list) != 3 || len(seen) != 3 {
		t.Errorf("3 instances are %d peers and %d registrations, %v", len(seen), len(list), err)
	}
}
