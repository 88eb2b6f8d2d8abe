package daemon

import (
	"errors"
	"slices"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
)

// An Explanation is a Reply with everything that led to it.
type Explanation struct {
	Cell        string      `json:"cell"`
	CID         string      `json:"cid"`
	Commit      string      `json:"commit,omitempty"`      // wanted; empty: any
	Fingerprint string      `json:"fingerprint,omitempty"` // wanted; empty: any
	Trust       string      `json:"trust"`                 // signed, or open: no publishers are named, so no grant is asked for
	Settled     bool        `json:"settled"`               // every way has been asked, every candidate probed
	Used        int         `json:"used"`                  // instances that calls go to
	Instances   []Explained `json:"instances"`             // in the order in which calls prefer them
	Ways        []WayReport `json:"ways"`
}

// Explained is one candidate: who named it, what is known of it, and why it is used or not.
type Explained struct {
	Instance
	Verdict     string     `json:"verdict"` // see find.Verdict
	Used        bool       `json:"used"`
	Why         string     `json:"why"`
	Signature   string     `json:"signature"` // valid, none, or the code of the refusal
	ValidUntil  time.Time  `json:"valid_until,omitzero"`
	Grant       string     `json:"grant"` // valid, unknown, open (none is asked for), or the code of the refusal
	Probe       *LastProbe `json:"last_probe,omitempty"`
	Suspected   bool       `json:"suspected"` // others hold it for dead, and it has not answered since
	Disproved   int        `json:"disproved"` // reports of its death that its answers disproved
	NextProbeAt time.Time  `json:"next_probe,omitzero"`
}

// LastProbe is what the last probe of a candidate brought.
type LastProbe struct {
	At       time.Time `json:"at"`
	Error    string    `json:"error,omitempty"`
	Failures int       `json:"failures,omitempty"` // in a row
}

// TrustOpen is Explanation.Trust of a cell that names no publishers, TrustSigned of one that does.
const (
	TrustOpen   = "open"
	TrustSigned = "signed"
)

// NewExplanation puts what a tracker knows into the form that is printed.
func NewExplanation(req find.Request, s find.Snapshot, accounts []find.Account) Explanation {
	reply := NewReply(req.Cell, s)
	x := Explanation{
		Cell: reply.Cell, CID: reply.CID, Commit: req.Commit, Fingerprint: req.Fingerprint, Trust: TrustOpen,
		Settled: true, Instances: make([]Explained, 0, len(accounts)), Ways: reply.Ways,
	}
	if req.Publishers != "" {
		x.Trust = TrustSigned
	}
	for _, a := range accounts {
		x.Instances = append(x.Instances, newExplained(a, x.Trust))
		if a.Takes() {
			x.Used++
		}
	}
	x.Settled = !slices.ContainsFunc(x.Ways, func(w WayReport) bool { return !w.Done }) &&
		!slices.ContainsFunc(accounts, func(a find.Account) bool { return a.Verdict == find.Unasked })
	return x
}

func newExplained(a find.Account, trust string) Explained {
	x := Explained{
		Instance: newInstance(a.Instance), Verdict: string(a.Verdict), Used: a.Takes(), Why: a.Why,
		Signature: "none", Grant: trust, Suspected: a.Suspect || a.Accused, Disproved: a.Disproved, NextProbeAt: a.Next.UTC(),
	}
	if trust != TrustOpen {
		x.Grant = "unknown"
	}
	if a.Record != nil {
		x.Signature, x.ValidUntil = "valid", a.Record.Expires.UTC()
		if trust != TrustOpen {
			x.Grant = "valid"
		}
	}
	var refused *record.Refusal
	switch {
	case errors.As(a.Err, &refused) && refused.Code.OfGrant():
		x.Signature, x.Grant = "valid", string(refused.Code)
	case errors.As(a.Err, &refused):
		x.Signature, x.ValidUntil = string(refused.Code), time.Time{}
	}
	if !a.Probed.IsZero() {
		x.Probe = &LastProbe{At: a.Probed.UTC().Truncate(time.Millisecond), Failures: a.Failures}
		if a.Err != nil {
			x.Probe.Error = a.Err.Error()
		}
	}
	return x
}
