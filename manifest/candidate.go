package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Candidate is one known instance, with what a probe found out.
type Candidate struct {
	Peer        peer.ID
	RTT         time.Duration // least sample; 0 or less: no answer, which counts as infinitely far
	Fingerprint string        // as answered
	Compatible  bool          // the fingerprint differs, but only by additions
	Refused     string        // why it may not be used although it answered (trust, state …); empty: it may
}

// usableCandidates are the candidates that may be used, nearest first.
func usableCandidates(wanted Wanted, candidates []Candidate) []Candidate {
	var usable []Candidate
	for _, c := range candidates {
		if c.RTT > 0 && c.refusal(wanted) == "" {
			usable = append(usable, c)
		}
	}
	return unique(usable)
}

// unique sorts nearest first, ties by peer, and keeps the best of each peer.
func unique(candidates []Candidate) []Candidate {
	list := slices.Clone(candidates)
	slices.SortFunc(list, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.RTT, b.RTT), cmp.Compare(a.Peer, b.Peer))
	})
	seen := map[peer.ID]bool{}
	return slices.DeleteFunc(list, func(c Candidate) bool {
		double := seen[c.Peer]
		seen[c.Peer] = true
		return double
	})
}

// refusal says why an instance that answered cannot be used.
func (c Candidate) refusal(wanted Wanted) string {
	if c.Refused != "" {
		return c.Refused
	}
	if c.Fingerprint != wanted.Fingerprint && !c.Compatible {
		return fmt.Sprintf("has interface %s, wanted is %s", short(c.Fingerprint), short(wanted.Fingerprint))
	}
	return ""
}

func refusals(wanted Wanted, candidates []Candidate) []string {
	var out []string
	for _, c := range candidates {
		if r := c.refusal(wanted); c.RTT > 0 && r != "" {
			out = append(out, fmt.Sprintf("%s: %s", c.Peer, r))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func answered(candidates []Candidate) int {
	n := 0
	for _, c := range candidates {
		if c.RTT > 0 {
			n++
		}
	}
	return n
}

// short is a fingerprint as people read it.
func short(fingerprint string) string {
	if fingerprint == "" {
		return "none"
	}
	return fingerprint[:min(len(fingerprint), 12)]
}
