package choice

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fail(i *Instance, times int, now time.Time) {
	for range times {
		i.Learn(RPC, Failed, ms, now)
	}
}

func TestFiveFailuresInARowEjectForATimeThatGrows(t *testing.T) {
	s := set(ms, 20*ms)
	a, now := s.Kept()[0], t0
	fail(a, ejectAfter-1, now)
	a.Learn(RPC, Answered, ms, now)
	fail(a, ejectAfter-1, now)
	if a.Ejected(now) {
		t.Fatal("ejected although the failures were not in a row")
	}
	fail(a, 1, now)
	for _, lasts := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		if !a.Ejected(now.Add(lasts-ms)) || a.Ejected(now.Add(lasts)) {
			t.Fatalf("not ejected for %s", lasts)
		}
		now = now.Add(lasts)
		fail(a, 1, now) // one more after the return suffices
	}
	now = now.Add(time.Minute + ejectMax + ms)
	fail(a, ejectAfter-1, now)
	if a.Ejected(now) {
		t.Error("an instance that was well for a minute is not given five failures again")
	}
	fail(a, 1, now)
	if a.Ejected(now.Add(ejectMin)) {
		t.Error("nor the first, short ejection")
	}
}

func TestOneCallThatHangsAfterAnEjectionSufficesHoweverLateItFails(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		began, took time.Duration // after the first ejection ends
		lasts       time.Duration // of the ejection that follows; 0: there is none
	}{
		{0, ms, 2 * ejectMin},
		{second, 30 * second, 2 * ejectMin},
		{ejectMin - ms, 2 * ejectMax, 2 * ejectMin}, // it was not well in that time
		{ejectMin, 30 * second, 0},
		{-second, 30 * second, 2 * ejectMin},
		{-ejectMin - second, 7 * second, 0}, // it had begun before the ejection
	} {
		s := set(ms, 20*ms)
		a := s.Kept()[0]
		fail(a, ejectAfter, t0)
		ended := t0.Add(ejectMin + c.began + c.took)
		a.Learn(RPC, Failed, c.took, ended)
		if c.lasts == 0 && a.Ejected(ended) {
			t.Errorf("a call %s after the return that took %s ejects", c.began, c.took)
		}
		if c.lasts > 0 && (!a.Ejected(ended.Add(c.lasts-ms)) || a.Ejected(ended.Add(c.lasts))) {
			t.Errorf("a call %s after the return that took %s does not eject for %s", c.began, c.took, c.lasts)
		}
	}
}

func TestCallsFromBeforeAnEjectionDoNotSpareTheNextOne(t *testing.T) {
	s := set(ms, 20*ms)
	a := s.Kept()[0]
	fail(a, ejectAfter, t0)
	back := t0.Add(ejectMin)
	a.Learn(RPC, Failed, 10*time.Second, back.Add(time.Second))
	a.Learn(RPC, Failed, 10*time.Second, back.Add(12*time.Second))
	if !a.Ejected(back.Add(12 * time.Second)) {
		t.Error("not ejected by the first call after its return")
	}
}

func TestAFailureSendsTheNextCallElsewhere(t *testing.T) {
	s := set(ms, 80*ms)
	fail(s.Kept()[0], 1, t0)
	if got := best(s, t0); got != "b" {
		t.Errorf("it goes to %s", got)
	}
}

func TestAtLeastHalfAreLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxKept).Draw(t, "instances")
		rtts := make([]time.Duration, n)
		s, now := set(rtts...), t0
		for range rapid.IntRange(0, 400).Draw(t, "calls") {
			i := s.Kept()[rapid.IntRange(0, n-1).Draw(t, "which")]
			fail(i, rapid.IntRange(0, 6).Draw(t, "failures"), now)
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause")) * ms)
			out := 0
			for _, i := range s.Kept() {
				if i.Ejected(now) {
					out++
				}
			}
			if 2*out > n {
				t.Fatalf("%d of %d are ejected", out, n)
			}
			if Best(s.Kept(), RPC, nil, now) == nil {
				t.Fatal("nobody is left to call")
			}
		}
	})
}

func TestABudgetIsInProportionToCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share, burst := rapid.IntRange(1, 500).Draw(t, "share"), rapid.IntRange(1, 20).Draw(t, "burst")
		b := NewBudget(share, burst)
		calls, extra := 0, 0
		for range rapid.IntRange(0, 500).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "call") {
				b.Earn()
				calls++
			} else if b.Spend() {
				extra++
			}
			if extra*1000 > burst*1000+calls*share {
				t.Fatalf("%d extra after %d calls", extra, calls)
			}
		}
		for range 1000 * burst {
			b.Earn()
		}
		for range burst {
			if !b.Spend() {
				t.Fatal("a full budget has less than its burst")
			}
		}
		if b.Spend() {
			t.Fatal("and more")
		}
	})
}

func TestAQuantileIsWithinAQuarterOfAPowerOfTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Latencies
		base := time.Duration(rapid.IntRange(20, 1_000_000).Draw(t, "µs")) * time.Microsecond
		if _, ok := l.Quantile(0.95); ok {
			t.Fatal("an opinion about nothing")
		}
		for range rapid.IntRange(1, 40).Draw(t, "hundreds") {
			for n := range 100 {
				took := base
				if n >= 96 {
					took *= 10
				}
				l.Observe(took)
			}
		}
		got, ok := l.Quantile(0.95)
		if !ok || got < base || float64(got) > float64(base)*1.2 {
			t.Fatalf("95 in 100 take %s, told is %s", base, got)
		}
	})
}
