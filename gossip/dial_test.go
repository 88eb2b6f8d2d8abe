package gossip

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// takeAll takes every slot and returns what gives one of them back.
func (d *dials) takeAll(t *testing.T) (done func(answered bool)) {
	t.Helper()
	for range dialsAtOnce {
		var err error
		if done, err = d.begin(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return done
}

func TestDialsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDials()
		done := d.takeAll(t)
		var begun atomic.Bool
		go func() {
			if _, err := d.begin(t.Context(), nil); err != nil {
				t.Error(err)
			}
			begun.Store(true)
		}()
		if synctest.Wait(); begun.Load() {
			t.Errorf("more than %d dials at once", dialsAtOnce)
		}
		done(true)
		if synctest.Wait(); !begun.Load() {
			t.Error("a dial has ended, and the next one does not begin")
		}
	})
}

func TestStreamsAndFreshConnectionsWaitForTheirTurn(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b, c := l.cell(1)[0], l.node(), l.node()
		defer stopAll([]*node{a, b, c})
		a.dials.takeAll(t)
		a.mu.Lock()
		a.greet(b.info())
		a.mu.Unlock()
		took := await(t, OpenTimeout, "connected", func() bool { return a.isConnected(b.host.ID()) })
		if took < firstSlot {
			t.Errorf("a stream was opened after %v, beside %d dials", took, dialsAtOnce)
		}
		a.dials.takeAll(t)
		begun := time.Now()
		if err := a.redialInTurn(c.info()); err == nil {
			t.Error("a host without the cell counts as alive")
		}
		if took := time.Since(begun); took < slotMin {
			t.Errorf("a fresh connection was made after %v, beside %d dials", took, dialsAtOnce)
		}
	})
}

func TestDeadPeersKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDials()
		d.took(20 * time.Millisecond)
		d.takeAll(t)
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
		d.takeAll(t)
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
		took := await(t, time.Minute, "ten dials", func() bool {
			a.mu.Lock()
			a.send(Send{[]peer.ID{nowhere}, &Ping{ID: 1}})
			a.mu.Unlock()
			a.dials.mu.Lock()
			defer a.dials.mu.Unlock()
			return a.dials.failed[nowhere].count == 10
		})
		if took < 10*time.Second {
			t.Errorf("dialled ten times within %v", took)
		}
	})
}

func TestConnectionOfSomebodyElseIsUsedWithoutATurn(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(1)
		a, b := nodes[0], l.node()
		defer func() { stopAll(nodes) }()
		b.gossip()
		nodes = append(nodes, b)
		a.dials.takeAll(t)
		a.mu.Lock()
		a.greet(b.info())
		a.mu.Unlock()
		if err := a.host.Connect(t.Context(), b.info()); err != nil {
			t.Fatal(err)
		}
		took := await(t, 5*time.Second, "both know both", func() bool { return agree(nodes) })
		if took > 200*time.Millisecond {
			t.Errorf("a peer to which there was a connection was greeted after %v", took)
		}
	})
}

func TestPeerThatComesDuringADialIsAnsweredAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		nodes := l.cell(1)
		a, b := nodes[0], l.node()
		defer func() { stopAll(nodes) }()
		b.dark.Store(true)
		a.mu.Lock()
		a.greet(b.info())
		a.mu.Unlock()
		time.Sleep(1500 * time.Millisecond) // the dial's packets are repeated ever more rarely
		b.dark.Store(false)
		nodes = append(nodes, b)
		b.gossip(a)
		took := await(t, 5*time.Second, "both know both", func() bool { return agree(nodes) })
		if took > 200*time.Millisecond {
			t.Errorf("a peer that came during a dial to it was answered after %v", took)
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
