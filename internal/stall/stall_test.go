package stall

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAProcessThatRunsWaitsAsLongAsItSaid(t *testing.T) {
	for _, d := range []time.Duration{0, 5, 400 * time.Millisecond, 1501 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			ctx, cancel := WithTimeout(t.Context(), d)
			defer cancel()
			child, done := context.WithCancel(ctx)
			defer done()
			<-ctx.Done()
			if took := time.Since(start); took > d || took < d-steps {
				if d > steps || took > steps {
					t.Errorf("%s took %s", d, took)
				}
			}
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) || context.Cause(ctx) != context.DeadlineExceeded {
				t.Errorf("ended with %v, %v", ctx.Err(), context.Cause(ctx))
			}
			<-child.Done()
			if !errors.Is(child.Err(), context.DeadlineExceeded) {
				t.Errorf("what is made of it ended with %v", child.Err())
			}
		})
	}
}

func TestCancelIsNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, end := context.WithCancel(t.Context())
		for name, over := range map[string]func(cancel func()){"itself": func(cancel func()) { cancel() }, "its parent": func(func()) { end() }} {
			ctx, cancel := WithTimeout(parent, time.Second)
			if ctx.Err() != nil {
				t.Errorf("%s: has ended at once: %v", name, ctx.Err())
			}
			over(cancel)
			synctest.Wait()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("%s: ended with %v", name, ctx.Err())
			}
			cancel()
			if ctx.(*timeout).timer.Stop() {
				t.Errorf("%s: its timer was left running", name)
			}
		}
	})
}

// TestLateTimersCountOnce plays a process that gets no processor: each timer comes late.
func TestLateTimersCountOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		late func(step int) time.Duration
		want time.Duration // when 800 ms are over by the wall clock
	}{
		"on time":               {func(int) time.Duration { return 0 }, 800 * time.Millisecond},
		"always as late again":  {func(int) time.Duration { return 100 * time.Millisecond }, 1600 * time.Millisecond},
		"stopped for 2 s":       {func(step int) time.Duration { return map[int]time.Duration{3: 2 * time.Second}[step] }, 2800 * time.Millisecond},
		"stopped for ten hours": {func(int) time.Duration { return 10 * time.Hour }, 10*time.Hour + 100*time.Millisecond},
	} {
		start := time.Unix(0, 0)
		m := meter{step: 100 * time.Millisecond, left: steps, end: start.Add(most * 800 * time.Millisecond)}
		now, i := start, 0
		for next := m.step; next > 0; next = m.tick(now) {
			now = now.Add(next + tt.late(i))
			i++
		}
		if got := now.Sub(start); got != tt.want {
			t.Errorf("%s: over after %s, want %s", name, got, tt.want)
		}
	}
}
