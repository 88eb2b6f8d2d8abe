package gossip

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestDialsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDials()
		var under, most atomic.Int32
		var wg sync.WaitGroup
		for range 5 * dialsAtOnce {
			wg.Go(func() {
				done, err := d.begin(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), under.Add(1)))
				time.Sleep(time.Second)
				under.Add(-1)
				done(true)
			})
		}
		wg.Wait()
		if n := most.Load(); n != dialsAtOnce {
			t.Errorf("up to %d dials at once, want %d", n, dialsAtOnce)
		}
		if d.typical != time.Second {
			t.Errorf("a dial is said to take %v, want 1s", d.typical)
		}
	})
}

func TestDeadPeersKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDials()
		d.took(20 * time.Millisecond)
		for range dialsAtOnce {
			done, err := d.begin(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer done(false)
		}
		begun := time.Now()
		done, err := d.begin(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		done(true)
		if took := time.Since(begun); took > slotMin {
			t.Errorf("a dial waited %v for those of dead peers, want at most %v", took, slotMin)
		}
	})
}

func TestWaitForATurnEndsWhenThereIsNothingToDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDials()
		for range dialsAtOnce {
			done, err := d.begin(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer done(false)
		}
		reached := make(chan struct{}, 1)
		reached <- struct{}{}
		begun := time.Now()
		if done, err := d.begin(t.Context(), reached); err != nil {
			t.Error(err)
		} else {
			done(true)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.begin(ctx, nil); err != context.Canceled {
			t.Errorf("begin returned %v, want %v", err, context.Canceled)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("waited %v", took)
		}
	})
}

// What there is to send does not decide how often a peer is dialled that cannot be reached.
func TestUnreachablePeerIsNotDialledForEachFrame(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.cell(1)[0], l.node()
		defer stopAll([]*node{a})
		nowhere := b.host.ID()
		b.host.Close()
		for range 400 {
			a.mu.Lock()
			a.send(Send{[]peer.ID{nowhere}, &Ping{ID: 1}})
			a.mu.Unlock()
			time.Sleep(50 * time.Millisecond)
		}
		a.dials.mu.Lock()
		defer a.dials.mu.Unlock()
		if n := a.dials.failed[nowhere].count; n < 5 || n > 15 {
			t.Errorf("dialled %d times in 20 s, want about 10", n)
		}
	})
}

func TestPeerThatComesIsAnsweredAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(1)
		a, b := nodes[0], l.node()
		defer func() { stopAll(nodes) }()
		for range 10 {
			a.dials.fail(b.host.ID()) // rests for about 2 s
		}
		a.mu.Lock()
		a.greet(b.info())
		a.mu.Unlock()
		nodes = append(nodes, b)
		b.gossip(a)
		took := await(t, 5*time.Second, "both know both", func() bool { return agree(nodes) })
		if took > 200*time.Millisecond {
			t.Errorf("a peer that could not be reached before came, and was answered after %v", took)
		}
	})
}
