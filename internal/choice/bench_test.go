package choice

import (
	"testing"
	"time"
)

// BenchmarkPick is one call at 16 instances: the pick, what is counted, and what its end teaches.
func BenchmarkPick(b *testing.B) {
	var list []Member
	for n := range MaxKept {
		list = append(list, Member{ID: name(n), RTT: time.Duration(n+1) * ms})
	}
	s := New(1)
	s.Update(list, time.Now())
	for n, i := range s.Kept() {
		i.Learn(RPC, Answered, time.Duration(20+n)*ms, time.Now())
	}
	b.ReportAllocs()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			pick(s)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				pick(s)
			}
		})
	})
}

func pick(s *Set) {
	var tried Tried
	now := time.Now()
	i := Best(s.Kept(), RPC, &tried, now)
	tried.Add(i)
	i.Begin()
	i.Await(now)
	i.Heard()
	i.End()
	i.Learn(RPC, Answered, 20*ms, now)
}

func TestAPickAllocatesNothing(t *testing.T) {
	s := set(ms, 2*ms, 3*ms)
	if n := testing.AllocsPerRun(1000, func() { pick(s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
