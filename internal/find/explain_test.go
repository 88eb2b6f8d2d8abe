package find

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// Each verdict as it comes about, and the words that tell a person what to do.
var verdictTable = []struct {
	verdict Verdict
	says    string
	make    func(tab *table, s signer)
}{
	{Used, "calls go here first", func(tab *table, s signer) { s.answering(tab, 1) }},
	{Suspect, "only if there is no other", func(tab *table, s signer) {
		s.answering(tab, 1)
		tab.gone(Gone{Peer: s.peer, Incarnation: 1}, start)
	}},
	{Draining, "no new calls", func(tab *table, s signer) {
		s.answering(tab, 1)
		tab.found(Candidate{Peer: s.peer, Way: List, Record: s.record(1, 2, record.Draining)}, start)
	}},
	{Unhealthy, "health check", func(tab *table, s signer) {
		s.answering(tab, 1)
		tab.found(Candidate{Peer: s.peer, Way: List, Record: s.record(1, 2, record.Unhealthy)}, start)
	}},
	{Mismatch, "it runs commit bb, wanted is aa: if that is meant, accept it with `cellnode build --update`", failing(&link.Refused{
		Code: link.CodeCommit, Hello: link.Hello{Commit: "aa"}, Welcome: link.Welcome{Commit: "bb"},
	})},
	{Mismatch, "it has the interface dd, wanted is cc", failing(&link.Refused{
		Code: link.CodeFingerprint, Hello: link.Hello{Fingerprint: "cc"}, Welcome: link.Welcome{Fingerprint: "dd"},
	})},
	{Refused, "busy", failing(&link.Refused{Code: link.CodeBusy})},
	{BadRecord, "E_SIG", failing(&record.Refusal{Code: record.CodeSig})},
	{BadRecord, "another instance", failing(fmt.Errorf("%w, x", errOtherRecord))},
	{WrongPeer, "somebody else's", failing(link.ErrWrongPeer)},
	{NotDialled, "never dialled", failing(&link.UnreachableError{Attempts: []link.Attempt{{Addr: testAddr[0], Err: link.ErrNotDialable}}})},
	{Unreachable, "sudo ufw allow 40000/udp", failing(&link.UnreachableError{Attempts: []link.Attempt{
		{Addr: testAddr[0], Err: link.ErrNotDialable}, {Addr: testAddr[0], Err: errLost},
	}})},
	{NoAddress, "no address", func(tab *table, s signer) { tab.found(Candidate{Peer: s.peer, Way: DHT}, start) }},
	{Unasked, "--timeout", func(tab *table, s signer) { tab.found(Candidate{Peer: s.peer, Way: DHT, Addrs: testAddr}, start) }},
	{Left, "goodbye", func(tab *table, s signer) {
		s.answering(tab, 1)
		tab.gone(Gone{Peer: s.peer, Incarnation: 1, Leave: s.record(1, 2, record.Leaving)}, start)
	}},
}

func failing(err error) func(*table, signer) {
	return func(tab *table, s signer) {
		tab.found(Candidate{Peer: s.peer, Way: Seed, Addrs: testAddr}, start)
		tab.failed(s.peer, err, true, start)
	}
}

func TestEveryVerdictSaysWhy(t *testing.T) {
	shown := map[Verdict]bool{}
	for _, c := range verdictTable {
		tab, s := newTable(), newSigner(t)
		c.make(tab, s)
		list := tab.accounts()
		if len(list) != 1 || list[0].Verdict != c.verdict || !strings.Contains(list[0].Why, c.says) || strings.Contains(list[0].Why, "\n") {
			t.Errorf("%s: got %+v", c.verdict, list)
			continue
		}
		if takes := list[0].Takes(); takes != (c.verdict == Used || c.verdict == Suspect) {
			t.Errorf("%s: takes calls: %v", c.verdict, takes)
		}
		shown[c.verdict] = true
	}
	if len(shown) != len(verdictOrder()) {
		t.Errorf("verdicts that nothing here shows: %d of %d", len(verdictOrder())-len(shown), len(verdictOrder()))
	}
}

func TestAccountsStandInTheOrderThatCallsPrefer(t *testing.T) {
	tab, near, far, dead := newTable(), newSigner(t), newSigner(t), newSigner(t)
	failing(errLost)(tab, dead)
	for s, rtt := range map[*signer]time.Duration{&near: time.Millisecond, &far: time.Second} {
		tab.found(Candidate{Peer: s.peer, Way: Seed, Addrs: testAddr}, start)
		tab.answered(s.peer, s.answer(1, rtt), start.Add(time.Second))
	}
	list := tab.accounts()
	if len(list) != 3 || list[0].Peer != near.peer || list[1].Peer != far.peer || list[2].Peer != dead.peer {
		t.Fatalf("got %+v", list)
	}
	if !strings.Contains(list[1].Why, "after 1 nearer") {
		t.Errorf("got %q", list[1].Why)
	}
	if !list[0].Probed.Equal(start.Add(time.Second)) || !list[0].Next.After(list[0].Probed) || list[2].Failures != 1 || !errors.Is(list[2].Err, errLost) {
		t.Errorf("the last probes are not there: %+v", list)
	}
}

func TestADisprovedDeathIsRemembered(t *testing.T) {
	tab, s := newTable(), newSigner(t)
	s.answering(tab, 1)
	tab.gone(Gone{Peer: s.peer, Incarnation: 1}, start)
	if a := tab.accounts()[0]; !a.Suspect || !a.Accused || a.Disproved != 0 {
		t.Errorf("got %+v", a)
	}
	tab.answered(s.peer, s.answer(1, time.Millisecond), start)
	if a := tab.accounts()[0]; a.Suspect || a.Accused || a.Disproved != 1 {
		t.Errorf("got %+v", a)
	}
}

// A list settles while a slow way goes on; explain waits for that way, or says that it has not answered.
func TestExplainWaitsForTheSlowestWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		n.start(b, 1)
		slow := Way{Name: DHT, Run: func(ctx context.Context, sink Sink) error {
			select {
			case <-time.After(time.Minute):
				return seedWay(b).Run(ctx, sink)
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		tr := tracker(t, n, 2, seedWay(a), slow)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s, accounts, err := tr.Explain(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || len(accounts) != 1 || s.Ways[1].Done {
			t.Errorf("before: %v, %+v, %+v", err, s.Ways, accounts)
		}
		s, accounts, err = tr.Explain(t.Context())
		if err != nil || len(accounts) != 2 || !s.Ways[1].Done {
			t.Errorf("after: %v, %+v, %+v", err, s.Ways, accounts)
		}
		if at := slices.IndexFunc(s.Ways, func(r WayReport) bool { return r.Way == List }); at < 0 || !s.Ways[at].Done || s.Ways[at].Err != nil {
			t.Errorf("the lists are not reported: %+v", s.Ways)
		}
	})
}
