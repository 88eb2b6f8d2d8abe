package manifest

import (
	"fmt"
	"time"
)

// Choice is what Decide comes to.
type Choice uint8

// The four choices. The zero Choice is none of them.
const (
	UseLocal  Choice = iota + 1 // the instance that runs here
	UseRemote                   // the instances in Decision.Remote
	Spawn                       // build it and start it here
	Refuse                      // none of these: Decision.Err says why
)

// String is the choice in one word: local, remote, spawn, refuse.
func (c Choice) String() string {
	switch c {
	case UseLocal:
		return "local"
	case UseRemote:
		return "remote"
	case Spawn:
		return "spawn"
	case Refuse:
		return "refuse"
	}
	return "undecided"
}

// Wanted is the cell that is asked for.
type Wanted struct {
	Name        string // local name, for messages
	Fingerprint string // of the interface the code was made for: Cell.lock's, else the manifest's; "" for a cell without
}

// Local is a running instance on this machine: a run/NAME.json whose lock is held.
type Local struct {
	Fingerprint string
	Compatible  bool // the fingerprint differs, but only by additions
}

// fits reports whether code made for the wanted interface can call the instance.
func (l *Local) fits(wanted Wanted) bool { return l.Fingerprint == wanted.Fingerprint || l.Compatible }

// Decision is what to do, and why.
type Decision struct {
	Choice  Choice
	Best    time.Duration // least RTT of a usable instance; 0: none answered or none was asked
	Remote  []Candidate   // with UseRemote: every usable instance, nearest first, none twice
	Reasons []string      // one line for each step that was taken, in order
	Err     *TooFarError  // with Refuse
}

// Decide is the seed's rule, and the only place where it stands; the build step, the client and the simulation call it.
// Local with the wanted interface, or one that adds to it: UseLocal. Else the best round trip within policy.MaxLatency: UseRemote. Else, with
// policy.AutoSpawn: Spawn. Else Refuse.
//
// With policy.OfflineVendor nothing was probed: candidates are those that Cell.lock recorded, and any at all are taken.
// The policy speaks of the build step, so at run time the caller clears it.
func Decide(wanted Wanted, local *Local, candidates []Candidate, policy Policy) Decision {
	d := Decision{}
	if d.tryLocal(wanted, local) || d.tryRemote(wanted, candidates, policy) {
		return d
	}
	if policy.AutoSpawn {
		d.Choice = Spawn
		d.because("auto_spawn is set: build and start it here")
		return d
	}
	d.Choice = Refuse
	d.because("auto_spawn is not set")
	d.Err = &TooFarError{
		Name: wanted.Name, Best: d.Best, Limit: policy.MaxLatency, Known: len(candidates),
		Answered: answered(candidates), Offline: policy.OfflineVendor, Reasons: refusals(wanted, candidates),
	}
	return d
}

func (d *Decision) because(format string, args ...any) {
	d.Reasons = append(d.Reasons, fmt.Sprintf(format, args...))
}

func (d *Decision) tryLocal(wanted Wanted, local *Local) bool {
	switch {
	case local == nil:
		d.because("no instance runs here")
	case !local.fits(wanted):
		d.because("the instance that runs here has interface %s, wanted is %s", short(local.Fingerprint), short(wanted.Fingerprint))
	case local.Compatible:
		d.Choice = UseLocal
		d.because("an instance runs here whose interface adds to the wanted one")
		return true
	default:
		d.Choice = UseLocal
		d.because("an instance with the wanted interface runs here")
		return true
	}
	return false
}

func (d *Decision) tryRemote(wanted Wanted, candidates []Candidate, policy Policy) bool {
	if policy.OfflineVendor {
		return d.tryRecorded(candidates)
	}
	usable := usableCandidates(wanted, candidates)
	if len(usable) == 0 {
		d.because("%s known, %d answered, none can be used", instances(len(candidates)), answered(candidates))
		return false
	}
	d.Best = usable[0].RTT
	if limit := policy.MaxLatency; limit != nil && d.Best > *limit {
		d.because("best round trip %s is above max_latency_ms = %d", milliseconds(d.Best), limit.Milliseconds())
		return false
	}
	d.Choice, d.Remote = UseRemote, usable
	d.because("%s can be used, the best is %s away", instances(len(usable)), milliseconds(d.Best))
	return true
}

func (d *Decision) tryRecorded(candidates []Candidate) bool {
	recorded := unique(candidates)
	if len(recorded) == 0 {
		d.because("offline_vendor is set and Cell.lock records no instance")
		return false
	}
	d.Choice, d.Remote = UseRemote, recorded
	d.because("offline_vendor is set: %s of Cell.lock can be used, unasked", instances(len(recorded)))
	return true
}
