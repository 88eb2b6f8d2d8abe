package gossip

import (
	"fmt"
	"math"
	"time"
)

// Profile holds the numbers of the detector. Every member of a cell should run the same one: a member with another
// Window or Quorum is merely slower or quicker than its fellows, one with other Rings watches the wrong members.
//
// The values of LAN and WAN come from a parameter study in a model of this detector (1,000 members, WAN links, 5 %
// loss, 200 kills a row); the sections named in the fields are those of DESIGN.md in this folder.
type Profile struct {
	// Rings is K: how many observers a member has in a cell too large for a full mesh. 4 let 8 % of members be
	// condemned by their observers alone under 30 % liars, 16 doubled the bytes of a death.
	Rings int
	// Mesh is the largest cell in which everybody observes everybody: 2K+1, where rings stop saving links.
	Mesh int
	// Quorum is H above Mesh: how many votes make a certificate. 3 lost a live member to 30 % liars, 6 cost 0.3 s.
	Quorum int
	// QuorumStep is how long suspicion must last for each vote less than Quorum, down to 2.
	QuorumStep time.Duration
	// Lone is how long a single witness must suspect, times log10 of the members. 4 s made hundreds of false
	// certificates at 40 % loss.
	Lone time.Duration

	// Period is how often a member is probed, by all its observers together.
	Period time.Duration
	// TimeoutMin and TimeoutMax clamp the time allowed for an ack, srtt + 4 rttvar (RFC 6298).
	TimeoutMin, TimeoutMax time.Duration
	// FirstTimeout is allowed on a link without a measured round trip: it may still have to be dialled, by members that are
	// all busy dialling. With 1.5 s, 128 members that started at once on two processors made fresh connections instead of
	// waiting for those that were under way, and were not done within 90 s.
	FirstTimeout time.Duration
	// Retry is how often a suspect is pinged and its observers asked again.
	Retry time.Duration
	// Takeover is how long, at least, an observer who voted for another waits for that one's certificate before it asks too; up to
	// twice as long, so that one of them comes first. The asker's round ends about when the fellows' do. With 1.5 s, a death whose
	// asker died was known 2 s late.
	Takeover time.Duration

	// Window is W, from a certificate's making to the end of its subject: the time to refute. It must be at least
	// twice the time of a flood. WindowFloor is left where the certificate comes late, or is said to be old: the age
	// is hearsay, and with a floor of 200 ms liars who claimed a great one took live members off a list.
	Window, WindowFloor time.Duration

	// Pause is how late an own timer may be before this member takes itself for paused and discards what it had
	// timed (Cassandra's local pause, Lifeguard).
	Pause time.Duration
	// Doubt is how long a member that hears nobody at all takes itself for cut off and keeps its list.
	Doubt time.Duration
	// HealthMax bounds Lifeguard's local health, which stretches the timeouts: x (1 + health). A member whose health
	// has reached HealthMute neither votes nor certifies.
	HealthMax, HealthMute int

	// RandomLinks are kept beside those of the rings, for floods and healing, and exchanged every Rotate.
	RandomLinks int
	Rotate      time.Duration
	// Linger is how long a link that is no longer wanted stays open: new ones come before old ones go.
	Linger time.Duration
	// Sync is how often digests are compared with one neighbour, and a tombstoned member is tried.
	Sync time.Duration
	// Gather is how long records that follow each other closely are held back to be passed on together; what comes alone
	// is not. A flood of h hops takes up to h times as long on a busy day, so it must stay well below Window.
	Gather time.Duration
	// Small is the largest cell that is handed to a newcomer whole, without comparing digests first.
	Small int
}

// LAN is the profile for members within a few milliseconds of each other, and on loopback.
func LAN() Profile {
	return Profile{
		Rings: 8, Mesh: 17, Quorum: 5, QuorumStep: 3 * time.Second, Lone: 10 * time.Second,
		Period: time.Second, TimeoutMin: 300 * time.Millisecond, TimeoutMax: 500 * time.Millisecond,
		FirstTimeout: 2500 * time.Millisecond, Retry: time.Second, Takeover: 500 * time.Millisecond,
		Window: time.Second, WindowFloor: 500 * time.Millisecond,
		Pause: 250 * time.Millisecond, Doubt: 30 * time.Second, HealthMax: 8, HealthMute: 4,
		RandomLinks: 2, Rotate: 10 * time.Minute, Linger: 20 * time.Second, Sync: 10 * time.Second, Small: 64, Gather: 50 * time.Millisecond,
	}
}

// WAN is the profile for members anywhere in the world.
func WAN() Profile {
	p := LAN()
	p.Window, p.WindowFloor = 1500*time.Millisecond, 750*time.Millisecond
	return p
}

func (p Profile) withDefaults() Profile {
	if p == (Profile{}) {
		return WAN()
	}
	return p
}

func (p Profile) validate() error {
	switch {
	case p.Rings < 1 || p.Rings > 32:
		return fmt.Errorf("gossip: profile has %d rings, want 1 to 32; start from gossip.WAN()", p.Rings)
	case p.Quorum < 2 || p.Quorum > p.Rings:
		return fmt.Errorf("gossip: profile has quorum %d, want 2 to %d, the rings", p.Quorum, p.Rings)
	case p.Mesh < p.Rings+1 || p.Mesh > 64:
		return fmt.Errorf("gossip: profile has a mesh of %d, want %d to 64", p.Mesh, p.Rings+1)
	case p.Period <= 0 || p.TimeoutMin <= 0 || p.TimeoutMax < p.TimeoutMin || p.Window <= 0 || p.Retry <= 0 ||
		p.QuorumStep <= 0 || p.Lone <= 0 || p.Sync <= 0 || p.Rotate <= 0 || p.Pause <= 0 || p.Gather <= 0:
		return fmt.Errorf("gossip: profile leaves a duration at zero; start from gossip.WAN()")
	}
	return nil
}

// quorum is H in a cell of n: how many votes condemn a member at once. Between two members there is nobody else to
// ask.
func (p Profile) quorum(n int) int {
	switch {
	case n <= 2:
		return 1
	case n <= p.Mesh:
		return max(2, (n-1)/2+1)
	}
	return p.Quorum
}

// votesNeeded is the quorum in a cell of n against a subject that each voter has suspected for at least waited.
func (p Profile) votesNeeded(n int, waited time.Duration) int {
	h := p.quorum(n)
	if h <= 2 && n <= 2 {
		return h
	}
	if waited >= p.loneAfter(n) {
		return 1
	}
	return max(2, h-int(waited/p.QuorumStep))
}

// loneAfter is how long a single witness in a cell of n must suspect before its vote alone suffices.
func (p Profile) loneAfter(n int) time.Duration {
	return time.Duration(float64(p.Lone) * math.Log10(float64(max(n, 2))))
}

// observers is how many observers a member of a cell of n has.
func (p Profile) observers(n int) int {
	if n <= p.Mesh {
		return max(n-1, 1)
	}
	return p.Rings
}
