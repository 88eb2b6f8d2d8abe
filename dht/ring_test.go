package dht

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

func ringPeers(n int) []peer.ID {
	out := make([]peer.ID, n)
	for i := range out {
		out[i] = peer.ID(fmt.Sprintf("peer-%d", i))
	}
	return out
}

func announcers(epoch uint64, members []peer.ID, was map[peer.ID]bool) map[peer.ID]bool {
	out := map[peer.ID]bool{}
	for _, p := range members {
		if Announces(epoch, testKey("exchange"), p, members, was[p]) {
			out[p] = true
		}
	}
	return out
}

func TestRingNamesSixteenToThirtyTwoWhateverTheSize(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 32, 33, 300} {
		members := ringPeers(n)
		fresh := announcers(1, members, nil)
		if len(fresh) != min(n, RingStart) {
			t.Errorf("%d members: %d announce afresh", n, len(fresh))
		}
		everyone := map[peer.ID]bool{}
		for _, p := range members {
			everyone[p] = true
		}
		if kept := announcers(1, members, everyone); len(kept) != min(n, RingStop) {
			t.Errorf("%d members that all announced: %d go on", n, len(kept))
		}
	}
}

func TestNodeWithoutMemberListAnnounces(t *testing.T) {
	for _, members := range [][]peer.ID{nil, {"me"}} {
		if !Announces(7, testKey("exchange"), "me", members, false) {
			t.Errorf("silent with members %v", members)
		}
	}
}

func TestRingTurnsWithTheEpochAndDiffersBetweenKeys(t *testing.T) {
	members := ringPeers(1000)
	first, second := announcers(1, members, nil), announcers(2, members, nil)
	same := 0
	for p := range first {
		if second[p] {
			same++
		}
	}
	if same > 4 { // 16·16/1000 on average
		t.Errorf("%d of 16 stay for the next epoch", same)
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if Epoch(at) != Epoch(at.Add(59*time.Minute)) || Epoch(at)+1 != Epoch(at.Add(time.Hour)) {
		t.Error("an epoch is not an hour")
	}
}

// The order of the list, duplicates of oneself and who asks do not matter; whoever is named in a list is named in each
// part of it that still has him.
func TestRingIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := ringPeers(rapid.IntRange(1, 120).Draw(t, "n"))
		shuffled := rapid.Permutation(members).Draw(t, "order")
		epoch := rapid.Uint64().Draw(t, "epoch")
		was := rapid.Bool().Draw(t, "was")
		me := rapid.SampledFrom(members).Draw(t, "me")
		key := testKey("exchange")
		got := Announces(epoch, key, me, members, was)
		if Announces(epoch, key, me, append(shuffled, me), was) != got {
			t.Fatal("order or own entry matters")
		}
		part := shuffled[:rapid.IntRange(0, len(shuffled)).Draw(t, "part")]
		if got && !Announces(epoch, key, me, part, was) {
			t.Fatal("fewer members silenced one")
		}
	})
}

func BenchmarkRingOf10000(b *testing.B) {
	members := ringPeers(10_000)
	for b.Loop() {
		Announces(1, testKey("exchange"), members[0], members, false)
	}
}
