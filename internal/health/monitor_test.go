package health

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/manifest"
	"pgregory.net/rapid"
)

// checkFunc is a Check of one function.
type checkFunc func(ctx context.Context) error

func (f checkFunc) Check(ctx context.Context) error { return f(ctx) }
func (f checkFunc) Close() error                    { return nil }

// change is one call of a Monitor's callback.
type change struct {
	at   time.Duration // since the start
	well bool
}

// monitored runs a Monitor with defaults for d and returns what it told.
func monitored(t *testing.T, d time.Duration, check checkFunc) []change {
	t.Helper()
	var changes []change
	start := time.Now()
	m, err := Watch(manifest.Health{}, check, func(err error) {
		changes = append(changes, change{time.Since(start), err == nil})
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	m.Close()
	m.Close()
	return changes
}

func TestTheFirstVerdictIsTold(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want change
	}{
		{"well at once", nil, change{0, true}},
		{"unwell after two failures", errRefused, change{250 * time.Millisecond, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := monitored(t, time.Minute, func(context.Context) error { return tt.err })
				if len(got) != 1 || got[0] != tt.want {
					t.Errorf("told %v, want %v once", got, tt.want)
				}
			})
		})
	}
}

// A hang that begins right behind a check that has passed is told of last.
func TestAHangIsToldWithinTwoIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		got := monitored(t, time.Minute, func(ctx context.Context) error {
			if asked++; asked == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		want := []change{{0, true}, {DefaultInterval + 2*DefaultTimeout, false}}
		if !slices.Equal(got, want) || want[1].at > 2*DefaultInterval {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestOneFailureIsNotToldAndOneSuccessIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := "sfsfffsfsff" // at 0 1 1.25 2.25 2.5 3.5 4.5 5.5 5.75 6.75 7 s
		n := 0
		got := monitored(t, time.Minute, func(context.Context) error {
			n++
			if results[min(n, len(results))-1] == 's' {
				return nil
			}
			return errRefused
		})
		want := []change{{0, true}, {2500 * time.Millisecond, false}, {4500 * time.Millisecond, true}, {7 * time.Second, false}}
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	})
}

func TestCloseBreaksOffACheckThatThenDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		m, err := Watch(manifest.Health{Timeout: time.Hour, Failures: 1}, checkFunc(func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		}), func(err error) { t.Errorf("told %v", err) })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.Close()
		if !ended {
			t.Error("Close returned before the check did")
		}
	})
}

func TestOnceKnowsItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := Once(t.Context(), manifest.Health{Timeout: 7 * time.Second}, checkFunc(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// The verdict changes only where its definition says: unwell behind limit failures in a row, well behind a success.
func TestVerdictLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		v := verdict{limit: limit}
		run, state := 0, unknown
		for _, ok := range rapid.SliceOf(rapid.Bool()).Draw(t, "results") {
			var err error
			next := state
			if ok {
				run, next = 0, well
			} else if err = errRefused; true {
				if run++; run >= limit {
					next = unwell
				}
			}
			if changed := v.add(err); changed != (next != state) || v.state != next {
				t.Fatalf("verdict %d (changed: %v), want %d", v.state, changed, next)
			}
			state = next
		}
	})
}
