package find

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// A Verdict says in a word why calls go to a candidate or do not. Verdicts are stable: people and programs may rely on
// them.
type Verdict string

// The verdicts, the best first. Calls go to the first two only.
const (
	Used        Verdict = "used"        // live
	Suspect     Verdict = "suspect"     // live, others hold it for dead: used if there is no other
	Draining    Verdict = "draining"    // answers, and takes no new calls
	Unhealthy   Verdict = "unhealthy"   // answers, and says that its service is not well
	Mismatch    Verdict = "mismatch"    // runs another commit or interface than the wanted one
	Refused     Verdict = "refused"     // answers, and does not take the call for another reason
	BadRecord   Verdict = "bad-record"  // answers with a record that is refused
	WrongPeer   Verdict = "wrong-peer"  // somebody else answers at its addresses
	NotDialled  Verdict = "not-dialled" // its addresses are of a kind that is never dialled
	Unreachable Verdict = "unreachable" // does not answer
	NoAddress   Verdict = "no-address"  // named without an address
	Unasked     Verdict = "unasked"     // has not been asked, or has not answered yet
	Left        Verdict = "left"        // said goodbye
)

// An Account is all that a Tracker knows of one candidate. It is a copy and may be kept; Addrs and Sources are shared
// and not to be changed.
type Account struct {
	Instance           // State is zero where the last probe was not answered; RTT, Path, Commit and Fingerprint are of the last that was
	Verdict  Verdict   // why it is used or not
	Why      string    // the same in one line, with what there is to do about it
	Err      error     // of the last probe; nil if that was answered, or if there was none
	Probed   time.Time // end of the last probe; zero: none, as of a service on this machine
	Next     time.Time // when it is probed next; zero: never
	Failures int       // probes in a row that brought nothing
	// Accused: others hold it for dead, and it has not answered since. Disproved counts the reports before.
	Accused   bool
	Disproved int
}

// Takes reports whether calls go to the candidate.
func (a Account) Takes() bool { return a.Verdict == Used || a.Verdict == Suspect }

// Explain returns when every way has been asked once and every candidate has been probed, however long the slowest
// takes, or with what is known then and ctx's error when that ends. The accounts stand in the order in which calls
// prefer them.
func (t *Tracker) Explain(ctx context.Context) (Snapshot, []Account, error) {
	s, err := t.await(ctx, func(bool) bool { return t.askedLocked() })
	t.mu.Lock()
	defer t.mu.Unlock()
	accounts := t.table.accounts()
	if t.cfg.Follow > 0 && t.reports[List] == nil {
		s.Ways = append(s.Ways, t.listReportLocked(accounts))
	}
	return s, accounts, err
}

// errNobodyListed is what becomes of the lists where no instance could be asked for its own.
var errNobodyListed = errors.New("find: no live instance could be asked for its list")

// listReportLocked says what the lists of live instances have brought; they are no way that is asked by itself.
func (t *Tracker) listReportLocked(accounts []Account) WayReport {
	r := WayReport{Way: List, Done: t.lists > 0}
	for _, a := range accounts {
		if slices.Contains(a.Sources, List) {
			r.Found++
		}
	}
	if !r.Done && !t.table.followable() {
		r.Done, r.Err = true, errNobodyListed
	}
	return r
}

// askedLocked reports whether every way and candidate has been asked once.
func (t *Tracker) askedLocked() bool {
	for _, r := range t.reports {
		if !r.Done {
			return false
		}
	}
	// A live instance that is about to be asked for its list may know more.
	return !t.table.pending() && (t.lists > 0 || t.cfg.Follow <= 0 || !t.table.followable())
}

func (t *table) accounts() []Account {
	var list []Account
	for _, e := range t.entries {
		list = append(list, e.account())
	}
	for id, incarnation := range t.left {
		if t.entries[id] == nil {
			i := Instance{Peer: id, State: record.Leaving, Incarnation: incarnation}
			list = append(list, Account{Instance: i, Verdict: Left})
		}
	}
	order := verdictOrder()
	slices.SortFunc(list, func(a, b Account) int {
		return cmp.Or(order[a.Verdict]-order[b.Verdict], cmp.Compare(a.RTT, b.RTT), strings.Compare(string(a.Peer), string(b.Peer)))
	})
	for n := range list {
		list[n].Why = list[n].why(n)
	}
	return list
}

func (e *entry) account() Account {
	a := Account{
		Instance: e.instance(), Verdict: e.verdict(), Err: e.err, Probed: e.probed, Failures: e.failures,
		Accused: e.accused, Disproved: e.alarms,
	}
	var refused *link.Refused
	switch {
	case !e.live && errors.As(e.err, &refused):
		a.State, a.Commit, a.Fingerprint = refused.Welcome.State, refused.Welcome.Commit, refused.Welcome.Fingerprint
	case !e.live:
		a.State = 0
	}
	if !e.self && e.socket == "" && len(e.addrs) > 0 {
		a.Next = e.due
	}
	return a
}

func (e *entry) verdict() Verdict {
	switch {
	case !e.live:
		return refusalVerdict(e.err, len(e.addrs) > 0)
	case e.state == record.Draining:
		return Draining
	case e.state != record.Serving:
		return Unhealthy
	case e.suspect:
		return Suspect
	}
	return Used
}

func refusalVerdict(err error, addressed bool) Verdict {
	var (
		refused *link.Refused
		bad     *record.Refusal
	)
	switch {
	case errors.As(err, &refused):
		if refused.Code == link.CodeCommit || refused.Code == link.CodeFingerprint {
			return Mismatch
		}
		return Refused
	case errors.As(err, &bad), errors.Is(err, errOtherRecord):
		return BadRecord
	case errors.Is(err, link.ErrWrongPeer):
		return WrongPeer
	case !addressed:
		return NoAddress
	case err == nil:
		return Unasked
	case neverDialled(err):
		return NotDialled
	}
	return Unreachable
}

// neverDialled reports whether none of a candidate's addresses may be dialled.
func neverDialled(err error) bool {
	var none *link.UnreachableError
	return errors.As(err, &none) && len(none.Attempts) > 0 && !slices.ContainsFunc(none.Attempts, func(a link.Attempt) bool {
		return !errors.Is(a.Err, link.ErrNotDialable)
	})
}

// why puts the verdict into words; n candidates stand before it.
func (a Account) why(n int) string {
	switch a.Verdict {
	case Used:
		if n == 0 {
			return "live, and the nearest: calls go here first"
		}
		return fmt.Sprintf("live: calls come here too, after %d nearer", n)
	case Suspect:
		return "others hold it for dead and it has not answered since: used only if there is no other"
	case Draining:
		return "it is about to end and takes no new calls"
	case Unhealthy:
		return "its service is not well: look at that service's health check and log"
	case Mismatch:
		return MismatchHint(a.Err)
	case Refused:
		return fmt.Sprintf("it answers and refuses: %v", a.Err)
	case BadRecord:
		return fmt.Sprintf("its record is not valid: %v", a.Err)
	case WrongPeer:
		return fmt.Sprintf("its addresses are somebody else's now: %v", a.Err)
	case NotDialled:
		return fmt.Sprintf("its addresses are never dialled from here: %v", a.Err)
	case NoAddress:
		return "no address of it is known: it listens on none that others could reach"
	case Unasked:
		return "it has not answered in the time given: pass a longer --timeout"
	case Left:
		return "it said goodbye"
	}
	return fmt.Sprintf("%v: if it runs, open its port there (sudo ufw allow 40000/udp) and run `cellnode doctor`", a.Err)
}

// MismatchHint puts Mismatch into words.
func MismatchHint(err error) string {
	const accept = ": if that is meant, accept it with `cellnode build --update`"
	var refused *link.Refused
	var lacks *manifest.IncompatibleError
	switch {
	case errors.As(err, &lacks):
		return fmt.Sprintf("its interface is not the wanted one, and breaks it: %v%s", lacks, accept)
	case errors.As(err, &refused) && refused.Code == link.CodeCommit:
		return fmt.Sprintf("it runs commit %s, wanted is %s%s", refused.Welcome.Commit, refused.Hello.Commit, accept)
	case errors.As(err, &refused):
		return fmt.Sprintf("it has the interface %s, wanted is %s%s", refused.Welcome.Fingerprint, refused.Hello.Fingerprint, accept)
	}
	return err.Error() + accept
}

func verdictOrder() map[Verdict]int {
	order := map[Verdict]int{}
	for n, v := range []Verdict{
		Used, Suspect, Draining, Unhealthy, Mismatch, Refused, BadRecord, WrongPeer, NotDialled, Unreachable, NoAddress, Unasked, Left,
	} {
		order[v] = n
	}
	return order
}
