package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetBoundsUnprovedDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		spend := func(addr string) error {
			done, err := b.dial(t.Context(), "victim", port{QUIC, netip.MustParseAddrPort(addr)})
			if err == nil {
				done(errors.New("no answer"))
			}
			return err
		}
		for n := range hostBurst {
			if err := spend(fmt.Sprintf("192.0.2.1:%d", n+1)); err != nil {
				t.Fatalf("dial %d: %v", n, err)
			}
		}
		if err := spend("192.0.2.1:9999"); !errors.Is(err, ErrBudget) {
			t.Errorf("above the burst: %v", err)
		}
		time.Sleep(time.Second / 2)
		if err := spend("192.0.2.1:9999"); err != nil {
			t.Errorf("after half a second: %v", err)
		}
		if err := spend("192.0.2.1:9999"); !errors.Is(err, ErrBudget) {
			t.Errorf("one more than came back: %v", err)
		}
		n := 2
		for ; n < 250 && spend(fmt.Sprintf("192.0.2.%d:1", n)) == nil; n++ {
		}
		if n < 180 || n > 200 {
			t.Errorf("the network took %d more dials, want about %d", n-2, netBurst-hostBurst)
		}
		if err := spend("192.0.3.1:1"); err != nil {
			t.Errorf("another network: %v", err)
		}
		for range 1000 {
			if err := spend("127.0.0.1:1"); err != nil {
				t.Fatalf("loopback: %v", err)
			}
		}
	})
}

func TestProvedAddressesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		at := port{QUIC, netip.MustParseAddrPort("192.0.2.1:40000")}
		for n := range 10 * hostBurst {
			done, err := b.dial(t.Context(), "instance", at)
			if err != nil {
				t.Fatalf("dial %d: %v", n, err)
			}
			done(nil)
		}
		// Proof is for one peer at one place, and lasts while dials succeed.
		if wait, paid, _ := b.try(place{"another", at}); wait != nil || !paid {
			t.Error("one peer's proof served another")
		} else {
			b.done(place{"another", at}, paid, context.Canceled)
		}
		if _, paid, _ := b.try(place{"instance", at}); paid {
			t.Error("a proved address was charged")
		}
		b.done(place{"instance", at}, false, context.Canceled)
		if _, paid, _ := b.try(place{"instance", at}); paid {
			t.Error("a lost race took the proof away")
		}
		b.done(place{"instance", at}, false, context.DeadlineExceeded)
		if _, paid, _ := b.try(place{"instance", at}); !paid {
			t.Error("a failed dial left the proof")
		}
	})
}

func TestOneUnprovedDialOfAPlaceIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		at := port{QUIC, netip.MustParseAddrPort("192.0.2.1:40000")}
		done, err := b.dial(t.Context(), "a", at)
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan error, 1)
		go func() {
			done, err := b.dial(t.Context(), "b", at)
			if err == nil {
				done(nil)
			}
			second <- err
		}()
		synctest.Wait()
		select {
		case <-second:
			t.Fatal("two dials at once")
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.dial(ctx, "c", at); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient caller: %v", err)
		}
		over, err := b.dial(t.Context(), "a", port{TCP, at.at})
		if err != nil {
			t.Errorf("over TCP meanwhile: %v", err)
		} else {
			over(nil)
		}
		done(errors.New("no answer"))
		if err := <-second; err != nil {
			t.Error(err)
		}
	})
}

func TestBudgetForgetsWithoutGrowing(t *testing.T) {
	b := NewBudget()
	for n := range 3 * maxBuckets {
		ip := netip.AddrFrom4([4]byte{byte(11 + n>>16), byte(n >> 8), byte(n), 1})
		if done, err := b.dial(t.Context(), "x", port{TCP, netip.AddrPortFrom(ip, 1)}); err == nil {
			done(nil)
		}
	}
	if len(b.buckets) > maxBuckets+2 || len(b.proved) > maxBuckets || len(b.busy) != 0 {
		t.Errorf("%d buckets, %d proofs, %d busy", len(b.buckets), len(b.proved), len(b.busy))
	}
}
