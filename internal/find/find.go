// Package find finds the live instances of one cell and keeps the list true while it is wanted.
//
// Ways name candidates: a seed list, a cache, a live instance's own list, the DHT, gossip, the LAN. What a way says
// is a hint. A Tracker asks them all at once, probes every candidate over cell/1, and only what answered for the
// cell, at the wanted commit and interface, is an instance. Another interface that only adds to the wanted one will do,
// from whatever commit it is; the Tracker compares them itself (see Interfaces). It then follows the lists of the nearest ones, so that
// changes are pushed to it, and prunes: an instance goes when it said goodbye itself, or when the Tracker's own
// probe of it fails. What others say of its death costs a probe, never the instance; an instance that others no
// longer list but that answers is kept (Envoy's rule for eventually consistent discovery).
package find

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// The names of the ways, as they stand in an instance's sources and behind --only.
const (
	Local  = "local"  // a service on this machine, by its own socket
	Seed   = "seed"   // embedded at build time, Cell.lock, or the repository's seed list
	Cache  = "cache"  // instances that answered an earlier process on this machine
	List   = "list"   // a live instance's list of its cell
	Gossip = "gossip" // this node is an instance of the cell itself
	DHT    = "dht"    // the rendezvous under the cell's CID
	MDNS   = "mdns"   // the local network
	Spawn  = "spawn"  // not a way to look, but to have one: it is started here
)

// CheckWays refuses names that are no way of finding.
func CheckWays(names []string) error {
	all := []string{Seed, Cache, List, DHT, MDNS, Local, Gossip}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return fmt.Errorf("%q is no way of finding: choose from %s", name, strings.Join(all, ", "))
		}
	}
	return nil
}

// ErrClosed is returned by calls to a Tracker that has been closed.
var ErrClosed = errors.New("find: closed")

// A Candidate is a hint that a peer may serve the cell.
type Candidate struct {
	Peer   peer.ID
	Addrs  []ma.Multiaddr
	Record *record.Signed // nil where the way knows none
	Way    string
	// Trusted: the addresses stand in our own files or came from our own LAN, so private ones may be dialled.
	Trusted bool
	// Socket is where a service on this machine listens, unix:PATH or tcp:HOST:PORT, dialled raw. It needs no probe
	// over cell/1: whoever named it holds a lock for as long as it serves.
	Socket string
	// Commit and Fingerprint go with Socket.
	Commit, Fingerprint string
	// Self: this process is the instance.
	Self bool
}

// A Gone is word that an instance has ended.
type Gone struct {
	Peer        peer.ID
	Incarnation uint64
	// Leave is the instance's own signed goodbye, and final; nil means that others hold it for dead, which costs it
	// a probe.
	Leave *record.Signed
}

// A Sink takes what a way learns. Its methods may be called from any goroutine and do not block.
type Sink interface {
	Found(Candidate)
	Gone(Gone)
	// Listed says that everything known so far has been said; what follows is news.
	Listed()
}

// A Way looks for candidates. Run ends when it has said all that it knows; a way that is pushed to calls Listed then
// and goes on until ctx ends. A Tracker runs it again after a while.
type Way struct {
	Name string
	Run  func(ctx context.Context, sink Sink) error
	// When makes the way a last resort: it is run only when the others have settled and When says so of the live
	// instances, the nearest first. It is called often, with the Tracker's lock held. Nil: the way is run like any other.
	When func(live []Instance) bool
}

// Request says what is looked for.
type Request struct {
	Cell manifest.Cell
	// Commit and Fingerprint, in hex, are wanted of an instance where they are not empty.
	Commit, Fingerprint string
	// Publishers is the [trust] of the cell, as manifest.Trust.Text writes it; empty: the cell is open.
	Publishers string
}

// Authority says who may serve the cell, by what Cell.toml says of it; nil for an open one. The error is of a key that is none.
func (r Request) Authority() (*record.Authority, error) {
	t, err := manifest.ParseTrust(r.Publishers)
	if t == nil || err != nil {
		return nil, err
	}
	return record.NewAuthority(r.Cell, *t)
}

// An Instance is one that has answered. It is a copy and may be kept; Addrs and Sources are shared and not to be changed.
type Instance struct {
	Peer        peer.ID
	State       record.State
	RTT         time.Duration // the least that was measured on its last probe; 0 for a local socket
	Path        string        // local, tcp, quic or libp2p
	Addrs       []ma.Multiaddr
	Commit      string
	Fingerprint string
	Incarnation uint64
	Sources     []string // the ways that named it, sorted
	Since       time.Time
	Socket      string
	Self        bool
	Record      *record.Signed // nil for a local socket
	// Suspect: others hold it for dead, and it has not answered us since. It is used only if there is no other.
	Suspect bool
}

// Usable reports whether new calls may go to the instance.
func (i Instance) Usable() bool { return i.State == record.Serving }

// Live reports whether the instance serves and nobody doubts it.
func (i Instance) Live() bool { return i.Usable() && !i.Suspect }

// Status is the instance's state as it is printed: suspect, or what it says of itself.
func (i Instance) Status() string {
	if i.Suspect {
		return "suspect"
	}
	return i.State.String()
}

// class orders instances before their distance does.
func (i Instance) class() int {
	switch {
	case i.Live():
		return 0
	case i.Usable():
		return 1
	}
	return 2
}

// A WayReport is what became of one way.
type WayReport struct {
	Way   string
	Found int           // candidates that it named, the same one counted once
	Took  time.Duration // of its last run; 0 while the first one goes on
	Done  bool
	Err   error
}

// String returns the report in a few words: what was found, or why nothing was.
func (r WayReport) String() string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("%s: %v", r.Way, r.Err)
	case !r.Done:
		return fmt.Sprintf("%s: %d so far, still looking", r.Way, r.Found)
	}
	return fmt.Sprintf("%s: %d", r.Way, r.Found)
}

// A Refusal is a candidate that is not used: it did not answer, or not as is wanted.
type Refusal struct {
	Peer peer.ID
	Ways []string
	Err  error
}

// NoneError says that no live instance was found, and what each way and each candidate answered.
type NoneError struct {
	Cell     manifest.Cell
	Ways     []WayReport
	Refusals []Refusal
	Err      error // the context's, where it ended the search
}

// Error returns everything in one line.
func (e *NoneError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no live instance of %s", e.Cell)
	if e.Err != nil {
		fmt.Fprintf(&b, " in the time given (%v)", e.Err)
	}
	for i, w := range e.Ways {
		b.WriteString([]string{"; ", ": "}[min(1, max(0, 1-i))])
		b.WriteString(w.String())
	}
	for _, r := range e.Refusals {
		fmt.Fprintf(&b, "; %s (%s): %v", short(r.Peer), strings.Join(r.Ways, ","), r.Err)
	}
	return b.String()
}

// Unwrap returns the context's error, if that ended the search.
func (e *NoneError) Unwrap() error { return e.Err }

func short(id peer.ID) string {
	s := id.String()
	return s[max(0, len(s)-8):]
}

// sortInstances puts live instances first, then suspects, then those that take no calls, and among them the near before
// the far; equals stand in the order of their peer IDs, so that the list is the same each time.
func sortInstances(list []Instance) {
	slices.SortFunc(list, func(a, b Instance) int {
		if c := a.class() - b.class(); c != 0 {
			return c
		}
		if a.RTT != b.RTT {
			return int(a.RTT - b.RTT)
		}
		return strings.Compare(string(a.Peer), string(b.Peer))
	})
}
