package find

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

func TestDialGoesRoundAnInstanceThatRefusesCalls(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1).refuseOpen = &link.Refused{Code: link.CodeBusy}
		n.start(b, 1)
		tr := tracker(t, n, 0, seedWay(a, b))
		settled(t, tr, 2)
		_, i, err := tr.Dial(t.Context())
		if err != nil || i.Peer != b.peer {
			t.Fatalf("dialled %s: %v", i.Peer, err)
		}
	})
}

func TestDialEndsThoughTheInstanceAnswersEveryProbe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1).refuseOpen = &link.Refused{Code: link.CodeBusy, Detail: "8192 streams are open"}
		tr := tracker(t, n, 0, seedWay(a))
		_, _, err := tr.Dial(context.Background())
		var none *NoneError
		if !errors.As(err, &none) || !strings.Contains(err.Error(), "8192 streams are open") {
			t.Errorf("got %v", err)
		}
		if opens := n.counts(a.peer).opens; opens > triesEach {
			t.Errorf("tried %d times", opens)
		}
	})
}

func TestTheOnlyInstanceIsWaitedForAfterOneFailedCall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1)
		tr := tracker(t, n, 0, seedWay(a))
		settled(t, tr, 1)
		tr.Demote(tr.Snapshot().Instances[0], errLost)
		if _, _, err := tr.Dial(t.Context()); err != nil {
			t.Errorf("a call right after one that failed: %v", err)
		}
	})
}

func TestInstanceThatFailsEveryCallIsNotAskedAllTheTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1)
		tr := tracker(t, n, 0, seedWay(a))
		demoted := 0
		for began := time.Now(); time.Since(began) < 10*time.Second; demoted++ {
			s := awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 1 })
			for range 3 { // calls that were made at the same time
				tr.Demote(s.Instances[0], errLost)
			}
		}
		if probes := n.counts(a.peer).probes; probes > 20 {
			t.Errorf("%d probes in 10 s", probes)
		}
		time.Sleep(2 * demotedFor)
		tr.Demote(tr.Snapshot().Instances[0], errLost)
		began := time.Now()
		awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 1 })
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("after a good while a failed call keeps it off the list for %s", took)
		}
	})
}

func TestDialDoesNotWaitForOneThatIsSilent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1).hangOpen = true
		n.start(b, 1)
		tr := tracker(t, n, 0, seedWay(a, b))
		settled(t, tr, 2)
		for range 3 {
			began := time.Now()
			_, i, err := tr.Dial(t.Context())
			if took := time.Since(began); err != nil || i.Peer != b.peer || took > 2*patience {
				t.Fatalf("dialled %s after %s: %v", i.Peer, took, err)
			}
		}
	})
}

func TestDialThatIsGivenUpDoesNotTouchTheInstance(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1).hangOpen = true
		tr := tracker(t, n, 0, seedWay(a))
		settled(t, tr, 1)
		before := n.counts(a.peer)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, _, err := tr.Dial(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if s := tr.Snapshot(); len(s.Instances) != 1 || n.counts(a.peer).probes != before.probes {
			t.Errorf("%d instances, %+v asked, %+v before", len(s.Instances), n.counts(a.peer), before)
		}
	})
}

func TestDrainingSeedStillShowsTheOthersToTheFirstDial(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		up := n.start(a, 1)
		up.state = record.Draining
		n.start(b, 1)
		up.push <- link.List{Members: []link.Member{{Record: b.record(1, 0, record.Serving)}}}
		hanging := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }}
		tr := tracker(t, n, 2, seedWay(a), hanging)
		_, i, err := tr.Dial(t.Context())
		if err != nil || i.Peer != b.peer {
			t.Errorf("dialled %s: %v", i.Peer, err)
		}
	})
}

func TestCloseEndsWhoeverWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		hanging := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }}
		tr := tracker(t, newFakeNet(), 0, hanging)
		ends := make(chan error, 3)
		go func() { _, _, err := tr.Dial(context.Background()); ends <- err }()
		go func() { _, err := tr.Settle(context.Background()); ends <- err }()
		go func() { _, err := tr.Next(context.Background(), tr.Snapshot()); ends <- err }()
		synctest.Wait()
		tr.Close()
		for range cap(ends) {
			if err := <-ends; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestWhoeverLooksInVainMakesTheWaysLookAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		rounds := 0
		way := Way{Name: DHT, Run: func(_ context.Context, sink Sink) error {
			if rounds++; rounds > 1 {
				sink.Found(Candidate{Peer: a.peer, Addrs: testAddr, Way: DHT})
			}
			return nil
		}}
		tr := tracker(t, n, 0, way)
		settled(t, tr, 0)
		time.Sleep(time.Minute) // by now it is asked each half minute
		n.start(a, 1)
		began := time.Now()
		for ; time.Since(began) < 5*time.Second; time.Sleep(100 * time.Millisecond) {
			if _, _, err := tr.Dial(t.Context()); err == nil {
				return
			}
		}
		t.Errorf("not found by Dials over %s", time.Since(began))
	})
}

func TestFirstDialIsNotHeldUpByAMeasurement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1)
		tr := New(Config{Request: Request{Cell: testCell}, Ways: []Way{seedWay(a)}, Dialer: n, Follow: 2, Urgent: true})
		t.Cleanup(func() { tr.Close() })
		if _, _, err := tr.Dial(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := n.counts(a.peer); got != (asked{probes: 1, urgent: 1, opens: 1}) {
			t.Fatalf("asked %+v", got)
		}
		time.Sleep(2 * lonelyProbe)
		if got := n.counts(a.peer); got != (asked{probes: 2, urgent: 1, opens: 1}) {
			t.Errorf("after the connection, asked %+v", got)
		}
	})
}
