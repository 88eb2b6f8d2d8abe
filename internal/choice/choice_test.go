package choice

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Unix(1_700_000_000, 0)

const ms = time.Millisecond

// set returns a Set of members at these distances, called a, b, …
func set(rtts ...time.Duration) *Set {
	s := New(1)
	s.Update(at(rtts...), t0)
	return s
}

func at(rtts ...time.Duration) []Member {
	var list []Member
	for n, rtt := range rtts {
		list = append(list, Member{ID: name(n), RTT: rtt})
	}
	return list
}

func name(n int) string { return string(rune('a' + n)) }

func ids(list []*Instance) (ids []string) {
	for _, i := range list {
		ids = append(ids, i.ID)
	}
	return ids
}

// best picks and names.
func best(s *Set, now time.Time) string {
	if i := Best(s.Kept(), RPC, nil, now); i != nil {
		return i.ID
	}
	return ""
}

func anyMembers(t *rapid.T) []Member {
	list := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Member {
		return Member{
			ID:       rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "id"),
			RTT:      time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * ms,
			Suspect:  rapid.Bool().Draw(t, "suspect"),
			Draining: rapid.Bool().Draw(t, "draining"),
		}
	}), 0, 150, func(m Member) string { return m.ID })
	return list.Draw(t, "members")
}

func TestWhatIsKeptIsBoundedAndTheNearestAreAmongIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := anyMembers(t)
		s := New(rapid.Uint64().Draw(t, "salt"))
		s.Update(list, t0)
		kept := s.Kept()
		usable := slices.DeleteFunc(slices.Clone(list), func(m Member) bool { return m.Draining })
		if len(kept) != min(len(usable), MaxKept) {
			t.Fatalf("kept %d of %d", len(kept), len(usable))
		}
		live := slices.DeleteFunc(slices.Clone(usable), func(m Member) bool { return m.Suspect })
		slices.SortStableFunc(live, func(a, b Member) int { return int(a.RTT - b.RTT) })
		for n, m := range live[:min(len(live), MaxKept-maxSpread)] {
			if !slices.ContainsFunc(kept, func(i *Instance) bool { return i.ID == m.ID || n > 0 && i.Member().RTT == m.RTT }) {
				t.Fatalf("%v, one of the nearest, is not kept", m)
			}
		}
		for _, i := range kept {
			if i.Member().Draining {
				t.Fatal("an instance that drains is kept")
			}
		}
	})
}

func TestTheSameListChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := anyMembers(t)
		s := New(1)
		s.Update(list, t0)
		before, version := s.Version()
		s.Update(rapid.Permutation(list).Draw(t, "again"), t0)
		if after, v := s.Version(); v != version || !slices.Equal(before, after) {
			t.Fatalf("%v became %v", ids(before), ids(after))
		}
	})
}

func TestABestInstanceIsNeverWorseThanAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(1)
		s.Update(anyMembers(t), t0)
		now := t0
		for range rapid.IntRange(0, 60).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "pause")) * ms)
			i := Best(s.Kept(), RPC, nil, now)
			if i == nil {
				break
			}
			for _, other := range s.Kept() {
				mine, theirs := i.rank(i.at.Load(), nil, now.UnixNano()), other.rank(other.at.Load(), nil, now.UnixNano())
				if theirs < mine || theirs == mine && other.cost(RPC, false, now.UnixNano()) < i.cost(RPC, false, now.UnixNano()) {
					t.Fatalf("%s was picked, %s is better", i.ID, other.ID)
				}
			}
			i.Begin()
			if rapid.Bool().Draw(t, "ends") {
				i.End()
				i.Learn(RPC, Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")), time.Duration(rapid.IntRange(0, 400).Draw(t, "took"))*ms, now)
			}
		}
	})
}

func TestAnEstimateLiesBetweenTheRoundTripAndTheSlowestAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := set(10 * ms)
		i, now, slowest := s.Kept()[0], t0, 10*ms
		for range rapid.IntRange(1, 50).Draw(t, "answers") {
			took := time.Duration(rapid.IntRange(0, 1000).Draw(t, "took")) * ms
			slowest = max(slowest, took)
			i.Learn(RPC, Answered, took, now)
			if got := time.Duration(i.estimates[RPC].read(now.UnixNano())); got < took-time.Microsecond || got > slowest+time.Microsecond {
				if got < 10*ms || got > slowest+time.Microsecond || got < took && took > slowest {
					t.Fatalf("after %s of at most %s the estimate is %s", took, slowest, got)
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "pause")) * ms)
		}
		if got := time.Duration(i.estimates[RPC].read(now.Add(time.Hour).UnixNano())); got != 10*ms {
			t.Fatalf("an hour later it is %s", got)
		}
	})
}

func TestCallsGoWhereTheFewestWaitTheShortest(t *testing.T) {
	s := set(2*ms, 3*ms, 40*ms)
	var got string
	for range 6 {
		i := Best(s.Kept(), RPC, nil, t0)
		i.Begin()
		got += i.ID
	}
	if got != "abaaba" && got != "abaabb" { // costs 2; 3 4; 6 6; 6 9 …
		t.Errorf("calls went to %s", got)
	}
}

func TestASlowInstanceIsAvoidedAndThenTriedAgain(t *testing.T) {
	s := set(2*ms, 20*ms)
	s.Kept()[0].Learn(RPC, Answered, time.Second, t0)
	if got := best(s, t0); got != "b" {
		t.Errorf("at once the call goes to %s", got)
	}
	if got := best(s, t0.Add(memory)); got != "b" {
		t.Errorf("after %s it goes to %s", memory, got)
	}
	if got := best(s, t0.Add(5*memory)); got != "a" {
		t.Errorf("after %s it goes to %s", 5*memory, got)
	}
}

func TestAnInstanceThatHangsKeepsFewCallsHoweverNearItIs(t *testing.T) {
	s := set(ms, 80*ms)
	a, b := s.Kept()[0], s.Kept()[1]
	a.Begin() // a stream, of which nothing is heard
	if got := best(s, t0.Add(time.Hour)); got != "a" {
		t.Errorf("with a stream open the call goes to %s", got)
	}
	a.End()
	hung := 0
	for now := t0; now.Before(t0.Add(10 * time.Second)); now = now.Add(10 * ms) { // 100 calls a second
		i := Best(s.Kept(), RPC, nil, now)
		i.Begin()
		i.Await(now)
		if i == a {
			hung++
			continue
		}
		b.Heard()
		b.End()
		b.Learn(RPC, Answered, 80*ms, now)
	}
	if hung > 5 {
		t.Errorf("%d of 1,000 calls went to an instance that hangs", hung)
	}
}

func TestANewcomerIsNotTakenForFasterThanItsSiblings(t *testing.T) {
	s := set(ms, ms)
	for _, i := range s.Kept() {
		i.Learn(RPC, Answered, 50*ms, t0)
		i.Begin()
		i.Begin()
	}
	s.Update(at(ms, ms, ms), t0)
	got := map[string]int{}
	for range 6 {
		i := Best(s.Kept(), RPC, nil, t0)
		i.Begin()
		got[i.ID]++
	}
	if got["c"] < 2 || got["c"] > 4 {
		t.Errorf("six calls went to %v; the newcomer is to catch up with its siblings and no more", got)
	}
}

func TestSuspectsAreAskedOnlyIfThereIsNoOtherAndTheDrainingNever(t *testing.T) {
	s := New(1)
	s.Update([]Member{{ID: "a", RTT: ms, Suspect: true}, {ID: "b", RTT: 100 * ms}, {ID: "c", Draining: true}}, t0)
	if got := best(s, t0); got != "b" {
		t.Errorf("the call goes to %s", got)
	}
	old := s.Kept()
	s.Update([]Member{{ID: "a", RTT: ms, Suspect: true}, {ID: "b", RTT: 100 * ms, Draining: true}}, t0)
	if got := best(s, t0); got != "a" {
		t.Errorf("with the other draining it goes to %s", got)
	}
	if i := Best(old, RPC, nil, t0); i == nil || i.ID != "a" {
		t.Errorf("whoever has the old list picks %v", i)
	}
	s.Update([]Member{{ID: "b", RTT: 100 * ms, Draining: true}}, t0)
	if i := Best(old, RPC, nil, t0); i != nil {
		t.Errorf("%s is picked although none takes calls", i.ID)
	}
}

func TestThisMachinesInstanceIsPreferredUntilItIsFarSlower(t *testing.T) {
	s := New(1)
	s.Update([]Member{{ID: "far", RTT: 2 * ms}, {ID: "here", Local: true}}, t0)
	here := s.Kept()[0]
	if here.ID != "here" || best(s, t0) != "here" {
		t.Fatalf("the call goes to %s", best(s, t0))
	}
	here.Learn(RPC, Answered, 7*ms, t0)
	if got := best(s, t0); got != "here" {
		t.Errorf("at 7 ms against 2 it goes to %s", got)
	}
	here.Learn(RPC, Answered, 100*ms, t0)
	if got := best(s, t0); got != "far" {
		t.Errorf("at 100 ms against 2 it goes to %s", got)
	}
}

func TestARetryGoesElsewhereWhileThereIsAnother(t *testing.T) {
	s := set(ms, 50*ms, 60*ms)
	var tried Tried
	var got []string
	for range 3 {
		i := Best(s.Kept(), RPC, &tried, t0)
		tried.Add(i)
		got = append(got, i.ID)
	}
	if fmt.Sprint(got) != "[a b c]" {
		t.Errorf("tried %v", got)
	}
	if i := Best(s.Kept(), RPC, &tried, t0); i == nil || !tried.Has(i) {
		t.Errorf("then %v", i)
	}
}

func TestWhatIsKeptDoesNotFlutterWithTheRoundTrip(t *testing.T) {
	s := New(1)
	list := func(wobble time.Duration) []Member {
		var out []Member
		for n := range 40 {
			rtt := 10 * ms
			if n%2 == 0 {
				rtt += wobble
			}
			out = append(out, Member{ID: name(n), RTT: rtt})
		}
		return out
	}
	s.Update(list(ms), t0)
	before := ids(s.Kept())
	slices.Sort(before)
	for n := range 10 {
		s.Update(list(time.Duration(n%3)*ms-ms), t0)
		after := ids(s.Kept())
		slices.Sort(after)
		if !slices.Equal(before, after) {
			t.Fatalf("%v became %v", before, after)
		}
	}
}

func TestClientsOfALargeCellDoNotAllKeepTheSame(t *testing.T) {
	var list []Member
	for n := range 1000 {
		list = append(list, Member{ID: fmt.Sprint(n), RTT: 10 * ms})
	}
	kept := map[string]int{}
	for salt := range uint64(200) {
		s := New(salt)
		s.Update(list, t0)
		for _, i := range s.Kept() {
			kept[i.ID]++
		}
	}
	if len(kept) < 100 {
		t.Errorf("200 clients together keep %d of 1,000", len(kept))
	}
}
