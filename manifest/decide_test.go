package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

var (
	wanted = Wanted{Name: "exchange", Fingerprint: "f1"}
	near   = Candidate{Peer: "near", RTT: 20 * ms, Fingerprint: "f1"}
	far    = Candidate{Peer: "far", RTT: 600 * ms, Fingerprint: "f1"}
	silent = Candidate{Peer: "silent", Fingerprint: "f1"}
	other  = Candidate{Peer: "other", RTT: 5 * ms, Fingerprint: "f2"}
	newer  = Candidate{Peer: "newer", RTT: 10 * ms, Fingerprint: "f2", Compatible: true}
	untrue = Candidate{Peer: "untrue", RTT: 1 * ms, Fingerprint: "f1", Refused: "E_CHAIN"}
)

// The seed's steps, one after the other, over everything that can be the case.
func TestDecide(t *testing.T) {
	limit := Policy{MaxLatency: ptr(500 * ms)}
	spawn := Policy{MaxLatency: ptr(500 * ms), AutoSpawn: true}
	for _, tt := range []struct {
		name       string
		local      *Local
		candidates []Candidate
		policy     Policy
		want       Choice
		remote     []peer.ID
		best       time.Duration
	}{
		{"a running instance ends it", &Local{Fingerprint: "f1"}, []Candidate{near}, limit, UseLocal, nil, 0},
		{"whatever the policy", &Local{Fingerprint: "f1"}, nil, Policy{OfflineVendor: true}, UseLocal, nil, 0},
		{"a running instance of another interface does not", &Local{Fingerprint: "f2"}, []Candidate{near}, limit, UseRemote, []peer.ID{"near"}, 20 * ms},
		{"one that only adds does", &Local{Fingerprint: "f2", Compatible: true}, nil, limit, UseLocal, nil, 0},
		{"near enough", nil, []Candidate{far, near, silent}, limit, UseRemote, []peer.ID{"near", "far"}, 20 * ms},
		{"exactly at the limit", nil, []Candidate{near}, Policy{MaxLatency: ptr(20 * ms)}, UseRemote, []peer.ID{"near"}, 20 * ms},
		{"a nanosecond above", nil, []Candidate{near}, Policy{MaxLatency: ptr(20*ms - 1)}, Refuse, nil, 20 * ms},
		{"too far, may spawn", nil, []Candidate{far}, spawn, Spawn, nil, 600 * ms},
		{"too far, may not", nil, []Candidate{far}, limit, Refuse, nil, 600 * ms},
		{"no limit", nil, []Candidate{far}, Policy{}, UseRemote, []peer.ID{"far"}, 600 * ms},
		{"limit 0 takes nobody", nil, []Candidate{near}, Policy{MaxLatency: ptr(0 * ms), AutoSpawn: true}, Spawn, nil, 20 * ms},
		{"no answer is infinitely far", nil, []Candidate{silent}, Policy{}, Refuse, nil, 0},
		{"no answer, may spawn", nil, []Candidate{silent}, Policy{AutoSpawn: true}, Spawn, nil, 0},
		{"nobody known", nil, nil, Policy{}, Refuse, nil, 0},
		{"another interface does not count", nil, []Candidate{other}, Policy{}, Refuse, nil, 0},
		{"a compatible one does", nil, []Candidate{newer, near}, limit, UseRemote, []peer.ID{"newer", "near"}, 10 * ms},
		{"the untrusted do not", nil, []Candidate{untrue, near}, limit, UseRemote, []peer.ID{"near"}, 20 * ms},
		{"one peer counts once, at its best", nil, []Candidate{{Peer: "near", RTT: 90 * ms, Fingerprint: "f1"}, near}, limit, UseRemote, []peer.ID{"near"}, 20 * ms},
		{"offline takes what is recorded", nil, []Candidate{silent, {Peer: "a"}}, Policy{OfflineVendor: true, MaxLatency: ptr(ms)}, UseRemote, []peer.ID{"a", "silent"}, 0},
		{"offline with nothing recorded", nil, nil, Policy{OfflineVendor: true}, Refuse, nil, 0},
		{"offline may spawn", nil, nil, Policy{OfflineVendor: true, AutoSpawn: true}, Spawn, nil, 0},
	} {
		d := Decide(wanted, tt.local, tt.candidates, tt.policy)
		var remote []peer.ID
		for _, c := range d.Remote {
			remote = append(remote, c.Peer)
		}
		if d.Choice != tt.want || d.Best != tt.best || !slices.Equal(remote, tt.remote) {
			t.Errorf("%s: %v, best %v, remote %q; want %v, %v, %q", tt.name, d.Choice, d.Best, remote, tt.want, tt.best, tt.remote)
		}
		if (d.Err != nil) != (tt.want == Refuse) || len(d.Reasons) == 0 {
			t.Errorf("%s: error %v, reasons %q", tt.name, d.Err, d.Reasons)
		}
	}
}

func TestTooFarErrorText(t *testing.T) {
	for _, tt := range []struct {
		candidates []Candidate
		policy     Policy
		want       string
	}{
		{
			[]Candidate{far, silent},
			Policy{MaxLatency: ptr(500 * ms)},
			"exchange too far and local spawn disabled (best 600 ms, limit 500 ms; 2 instances known, 1 answered); " +
				"raise max_latency_ms or set auto_spawn = true in [cell.exchange.policy]",
		},
		{
			nil,
			Policy{},
			"exchange too far and local spawn disabled (no usable answer, no limit; 0 instances known, 0 answered); " +
				"set auto_spawn = true in [cell.exchange.policy]",
		},
		{
			[]Candidate{untrue, other},
			Policy{MaxLatency: ptr(500 * ms)},
			"exchange too far and local spawn disabled (no usable answer, limit 500 ms; 2 instances known, 2 answered; " +
				"2 refused, such as " + untrue.Peer.String() + ": E_CHAIN); " +
				"set auto_spawn = true in [cell.exchange.policy]",
		},
		{
			nil,
			Policy{OfflineVendor: true},
			"exchange too far and local spawn disabled (offline_vendor is set and Cell.lock records no instance); " +
				"run cellnode build --update with a network or set auto_spawn = true in [cell.exchange.policy]",
		},
		{
			[]Candidate{{Peer: "x", RTT: 500300 * time.Microsecond, Fingerprint: "f1"}},
			Policy{MaxLatency: ptr(500 * ms)},
			"exchange too far and local spawn disabled (best 500.3 ms, limit 500 ms; 1 instance known, 1 answered); " +
				"raise max_latency_ms or set auto_spawn = true in [cell.exchange.policy]",
		},
	} {
		d := Decide(wanted, nil, tt.candidates, tt.policy)
		if d.Err == nil || d.Err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", d.Err, tt.want)
		}
	}
	if got := (&TooFarError{Name: "exchange"}).Message(); got != "exchange too far and local spawn disabled" {
		t.Errorf("the seed's sentence became %q", got)
	}
}

func genCandidates() *rapid.Generator[[]Candidate] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Candidate {
		return Candidate{
			Peer:        peer.ID(rapid.StringMatching(`[a-e]`).Draw(t, "peer")),
			RTT:         time.Duration(rapid.IntRange(-1, 1000).Draw(t, "rtt")) * ms,
			Fingerprint: rapid.SampledFrom([]string{"f1", "f2"}).Draw(t, "fingerprint"),
			Compatible:  rapid.Bool().Draw(t, "compatible"),
			Refused:     rapid.SampledFrom([]string{"", "", "E_CHAIN"}).Draw(t, "refused"),
		}
	}), 0, 6)
}

func TestDecideLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := genCandidates().Draw(t, "candidates")
		policy := Policy{AutoSpawn: rapid.Bool().Draw(t, "auto_spawn")}
		if rapid.Bool().Draw(t, "limited") {
			policy.MaxLatency = ptr(time.Duration(rapid.IntRange(0, 1000).Draw(t, "limit")) * ms)
		}
		before := slices.Clone(candidates)
		d := Decide(wanted, nil, candidates, policy)
		if !slices.Equal(before, candidates) {
			t.Fatal("Decide changed its argument")
		}
		if e := Decide(wanted, nil, rapid.Permutation(candidates).Draw(t, "order"), policy); e.Choice != d.Choice || e.Best != d.Best {
			t.Fatalf("the order decides: %+v, %+v", d, e)
		}
		switch d.Choice {
		case UseRemote:
			for _, c := range d.Remote {
				if c.RTT <= 0 || c.Refused != "" || c.Fingerprint != "f1" && !c.Compatible || c.RTT < d.Best {
					t.Fatalf("%+v may not be used", c)
				}
			}
			if policy.MaxLatency != nil && d.Best > *policy.MaxLatency {
				t.Fatalf("best %v is above the limit", d.Best)
			}
		case Spawn:
			if !policy.AutoSpawn {
				t.Fatal("spawned although it was not allowed")
			}
		case Refuse:
			if policy.AutoSpawn || !strings.HasPrefix(d.Err.Error(), "exchange too far and local spawn disabled (") {
				t.Fatal(d.Err)
			}
		default:
			t.Fatalf("%v", d.Choice)
		}
		// A looser limit never turns a yes into a no.
		loose := policy
		loose.MaxLatency = nil
		if d.Choice == UseRemote && Decide(wanted, nil, candidates, loose).Choice != UseRemote {
			t.Fatal("without a limit the same instances are refused")
		}
	})
}

func TestChoiceNames(t *testing.T) {
	var names []string
	for c := range Refuse + 2 {
		names = append(names, c.String())
	}
	if want := []string{"undecided", "local", "remote", "spawn", "refuse", "undecided"}; !reflect.DeepEqual(names, want) {
		t.Errorf("%q", names)
	}
}

func ExampleDecide() {
	limit := 500 * time.Millisecond
	tokyo := Candidate{Peer: "tokyo", RTT: 612 * time.Millisecond, Fingerprint: "9f2c"}
	d := Decide(Wanted{Name: "exchange", Fingerprint: "9f2c"}, nil, []Candidate{tokyo}, Policy{MaxLatency: &limit})
	fmt.Println(d.Choice)
	fmt.Println(d.Err)
	// Output:
	// refuse
	// exchange too far and local spawn disabled (best 612 ms, limit 500 ms; 1 instance known, 1 answered); raise max_latency_ms or set auto_spawn = true in [cell.exchange.policy]
}
