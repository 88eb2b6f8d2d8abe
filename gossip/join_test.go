package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// joiner is a machine of which only the hints move, so that nobody dies meanwhile.
type joiner struct {
	*Machine
	tries map[peer.ID]int
}

// newJoiner returns one that knows another member, unless it is alone.
func newJoiner(t *testing.T, alone bool) *joiner {
	t.Helper()
	j := &joiner{newVictim(t, worldStart), map[peer.ID]int{}}
	if other := newFlooder(t, worldStart); !alone {
		receive(t, j.Machine, worldStart, other.id, other.hello)
	}
	return j
}

// named joins a peer at addresses that end in these numbers.
func (j *joiner) named(id peer.ID, at ...int) {
	info := peer.AddrInfo{ID: id}
	for _, n := range at {
		info.Addrs = append(info.Addrs, ma.StringCast(fmt.Sprintf("/ip4/192.0.2.%d/udp/40000/quic-v1", n)))
	}
	j.Join(j.now, []peer.AddrInfo{info})
}

// pass lets time go by.
func (j *joiner) pass(d time.Duration) {
	for end := j.now.Add(d); j.now.Before(end); {
		j.now = j.now.Add(hintGap)
		j.tickHints()
		for _, c := range j.Take().Connects {
			j.tries[c.ID]++
		}
	}
}

func TestDeadHintIsTriedOnceEachTimeItIsNamedAgain(t *testing.T) {
	const dead = peer.ID("dead")
	j := newJoiner(t, false)
	for round := range 12 { // an hour of a node that looks round every five minutes
		j.named(dead, 1, 2)
		j.pass(10 * time.Second)
		j.named(dead, 2) // by another way
		j.pass(5*time.Minute - 10*time.Second)
		if want := hintTries + round; j.tries[dead] != want {
			t.Fatalf("round %d: tried %d times, want %d", round, j.tries[dead], want)
		}
	}
	j.pass(time.Hour)
	if len(j.hints) > 0 || j.tries[dead] > hintTries+11 {
		t.Errorf("tried %d times, and %d hints are left when nobody has named it for an hour", j.tries[dead], len(j.hints))
	}
}

func TestHintWithANewAddressIsANewOne(t *testing.T) {
	const moved = peer.ID("moved")
	j := newJoiner(t, false)
	for _, tt := range []struct {
		at   []int
		want int
	}{{[]int{1}, hintTries}, {[]int{1, 2}, 2 * hintTries}, {[]int{2}, 2*hintTries + 1}} {
		j.named(moved, tt.at...)
		if j.pass(2 * time.Minute); j.tries[moved] != tt.want {
			t.Errorf("named at %v: tried %d times, want %d", tt.at, j.tries[moved], tt.want)
		}
	}
	if got := len(j.hints[moved].info.Addrs); got != 2 {
		t.Errorf("it would be tried at %d addresses, want both", got)
	}
}

func TestLoneMemberTriesItsHintsForEver(t *testing.T) {
	const dead = peer.ID("dead")
	j := newJoiner(t, true)
	j.named(dead, 1)
	j.pass(time.Hour)
	before := j.tries[dead]
	if j.pass(time.Hour); j.tries[dead]-before < int(time.Hour/(2*hintLast)) {
		t.Errorf("tried %d times in the second hour", j.tries[dead]-before)
	}
	before = j.tries[dead]
	j.named(dead, 1)
	if j.pass(time.Second); j.tries[dead] == before {
		t.Error("one that is named again is not tried at once")
	}
}

func TestHintsTriedInVainGiveWayToOthers(t *testing.T) {
	j := newJoiner(t, false)
	for n := range maxHints {
		j.named(peer.ID(fmt.Sprint("dead ", n)))
	}
	j.named("too many") // all others are yet to be tried
	j.pass(2 * time.Minute)
	j.named("later")
	j.pass(time.Second)
	if j.tries["too many"] > 0 || j.tries["later"] == 0 || len(j.hints) > maxHints {
		t.Errorf("tried %d and %d times, with %d hints", j.tries["too many"], j.tries["later"], len(j.hints))
	}
}
