package client

import (
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

const farLimit = 100 * time.Millisecond

func at(rtt time.Duration) find.Instance {
	return find.Instance{State: record.Serving, RTT: rtt, Path: "quic"}
}

var here = find.Instance{State: record.Serving, Path: find.Local, Socket: "unix:/s"}

// player tells a nearness of instances, second by second.
type player struct {
	*nearness
	now time.Time
}

func newPlayer() *player {
	l := farLimit
	return &player{newNearness(manifest.Policy{MaxLatency: &l}), time.Unix(1e9, 0)}
}

// play goes on for some seconds with the same instances and returns how many of them want a start.
func (p *player) play(seconds int, live ...find.Instance) (wanted int) {
	for range seconds {
		if p.wants(live, p.now) {
			wanted++
		}
		p.now = p.now.Add(time.Second)
	}
	return wanted
}

func TestNoInstanceAtAllIsStartedAtOnce(t *testing.T) {
	if p := newPlayer(); p.play(1) != 1 {
		t.Error("nothing was started")
	}
	suspect := at(time.Millisecond)
	suspect.Suspect = true
	draining := at(time.Millisecond)
	draining.State = record.Draining
	if p := newPlayer(); p.play(1, suspect, draining) != 1 {
		t.Error("nothing was started for one that is suspect and one that is draining")
	}
	if p := newPlayer(); p.play(30, here) != 0 {
		t.Error("one was started beside one")
	}
}

func TestAFarOneMustStayFar(t *testing.T) {
	p := newPlayer()
	if p.play(3, at(2*farLimit)) != 0 || p.play(1, at(2*farLimit)) != 1 {
		t.Error("one that is far for three seconds starts nothing, or at once")
	}
	p = newPlayer()
	for range 20 {
		if p.play(2, at(2*farLimit))+p.play(1, at(farLimit)) != 0 {
			t.Fatal("a round trip that wavers started something")
		}
	}
	if p = newPlayer(); p.play(30, at(farLimit)) != 0 {
		t.Error("one at the limit is too far")
	}
	none := &player{newNearness(manifest.Policy{}), time.Unix(1e9, 0)}
	if none.play(30, at(time.Hour)) != 0 || none.play(1) != 1 {
		t.Error("without a limit none is too far, and none at all is started")
	}
}

func TestWhatWasStartedIsGivenUpLateAndTakenBackAtOnce(t *testing.T) {
	p := newPlayer()
	if p.play(60, here, at(farLimit*9/10)); p.gaveUp() {
		t.Error("it was given up for one that is close to the limit")
	}
	for range 10 {
		p.play(9, here, at(farLimit/2))
		p.play(1, here, at(farLimit*9/10))
	}
	if p.gaveUp() {
		t.Error("it was given up for one that wavers")
	}
	if p.play(11, here, at(farLimit/2)); !p.gaveUp() {
		t.Error("it was not given up for one that is near for ten seconds")
	}
	if p.play(60, at(farLimit*9/10)) != 0 || !p.gaveUp() {
		t.Error("it was taken back for one that is within the limit")
	}
	if p.play(1, at(2*farLimit)) != 0 || p.gaveUp() {
		t.Error("it was not taken back when the other went beyond the limit")
	}
	if p.play(1) != 1 {
		t.Error("it was not started again when the other went")
	}
}
