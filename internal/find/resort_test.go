package find

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lastResort is a way that is wanted while no instance is usable. It takes three seconds.
func lastResort(t *testing.T, runs *atomic.Int32, fail *atomic.Bool) Way {
	s := newSigner(t)
	return Way{
		Name: Spawn,
		When: func(live []Instance) bool { return len(live) == 0 || !live[0].Usable() },
		Run: func(ctx context.Context, sink Sink) error {
			runs.Add(1)
			time.Sleep(3 * time.Second)
			if fail.Load() {
				return errors.New("it does not build")
			}
			sink.Found(Candidate{Peer: s.peer, Way: Local, Socket: "unix:/s"})
			return nil
		},
	}
}

func TestALastResortIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		var runs atomic.Int32
		var fail atomic.Bool
		n.start(a, 1)
		tr := tracker(t, n, 0, seedWay(a), lastResort(t, &runs, &fail))
		settled(t, tr, 1)
		time.Sleep(time.Minute)
		if runs.Load() != 0 {
			t.Fatalf("it was run %d times beside a live instance", runs.Load())
		}
		n.stop(a.peer)
		tr.Failed(tr.Snapshot().Instances[0])
		synctest.Wait()
		time.Sleep(10 * time.Millisecond) // both probes
		s, err := tr.Wait(t.Context())
		if err != nil || s.Instances[0].Socket != "unix:/s" || runs.Load() != 1 {
			t.Errorf("got %+v, %v after %d runs", s.Instances, err, runs.Load())
		}
	})
}

func TestAWayThatHangsHoldsUpALastResortForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var runs atomic.Int32
		var fail atomic.Bool
		began := time.Now()
		hanging := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }}
		tr := tracker(t, newFakeNet(), 0, hanging, lastResort(t, &runs, &fail))
		if s, err := tr.Wait(t.Context()); err != nil || len(s.Instances) != 1 {
			t.Fatalf("got %+v, %v", s.Instances, err)
		}
		if took := time.Since(began); took > resortPatience+4*time.Second || took < resortPatience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestALastResortThatFailsIsSaidAndNotRunAllTheTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var runs atomic.Int32
		var fail atomic.Bool
		fail.Store(true)
		tr := tracker(t, newFakeNet(), 0, seedWay(), lastResort(t, &runs, &fail))
		for range 3 {
			_, err := tr.Wait(t.Context())
			if err == nil || !strings.Contains(err.Error(), "seed: 0; spawn: it does not build") {
				t.Fatalf("got %v", err)
			}
		}
		if runs.Load() != 1 {
			t.Errorf("it was run %d times for three calls at once", runs.Load())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := runs.Load(); n < 5 || n > 12 {
			t.Errorf("it was run %d times in ten minutes", n)
		}
		fail.Store(false)
		time.Sleep(resortMax + 5*time.Second)
		if s, err := tr.Wait(t.Context()); err != nil || len(s.Instances) != 1 {
			t.Errorf("got %+v, %v", s.Instances, err)
		}
	})
}
