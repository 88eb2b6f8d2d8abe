//go:build unix

package spawn

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
)

// sharerFunc is a Sharer.
type sharerFunc func(ctx context.Context, order Order, key *home.Key, service home.Running, joined func()) error

func (f sharerFunc) Share(ctx context.Context, order Order, key *home.Key, service home.Running, joined func()) error {
	return f(ctx, order, key, service, joined)
}

func TestASharedServiceStaysAndLeavesBeforeItStops(t *testing.T) {
	cfg := service(t, "serves")
	cfg.IdleExit = 300 * time.Millisecond
	c := begin(t, cfg)
	left := make(chan error, 1)
	c.Share(sharerFunc(func(ctx context.Context, _ Order, key *home.Key, service home.Running, joined func()) error {
		if key.Peer.String() != service.Peer {
			t.Errorf("it is shared as %s and serves as %s", key.Peer, service.Peer)
		}
		joined()
		<-ctx.Done()
		c.mu.Lock()
		process := c.current.process
		c.mu.Unlock()
		select { // whoever leaves has calls to finish
		case <-process.Done():
			left <- errors.New("it ended first")
		case <-time.After(cfg.IdleExit):
			left <- nil
		}
		return nil
	}), Order{})
	c.Share(sharerFunc(func(context.Context, Order, *home.Key, home.Running, func()) error {
		t.Error("it is shared twice")
		return nil
	}), Order{})
	eventually(t, "it is shared", func() bool { return c.Info().Spawned.Shared })
	select {
	case <-c.Done():
		t.Fatal("it ended for want of use, and others count on it")
	case <-time.After(3 * cfg.IdleExit):
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-left:
		if err != nil {
			t.Errorf("the service had ended before it left its cell: %v", err)
		}
	default:
		t.Error("it ended without leaving its cell")
	}
	clean(t, cfg)
}

func TestAServiceThatMayNotBeSharedStaysLocalAndSaysWhy(t *testing.T) {
	refused := sharerFunc(func(context.Context, Order, *home.Key, home.Running, func()) error {
		return errors.New("it has no grant")
	})
	for order, want := range map[Order]string{{}: "it has no grant", {Dir: "/src"}: errTree.Error()} {
		c := begin(t, service(t, "serves"))
		c.Share(refused, order)
		eventually(t, "it says "+want, func() bool { return c.Info().Spawned.Local == want })
		if c.Info().Spawned.Shared {
			t.Error("it is called shared")
		}
		ask(t, call(t, c), "hello")
	}
}
