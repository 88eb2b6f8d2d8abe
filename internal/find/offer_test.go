package find

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

const (
	wantedPrint = "aa11111111111111111111111111111111111111111111111111111111111111"
	otherPrint  = "bb22222222222222222222222222222222222222222222222222222222222222"
	oldCommit   = "1111111111111111111111111111111111111111"
	newCommit   = "2222222222222222222222222222222222222222"
)

// offering answers for one instance as link does: whoever asks for another commit or interface than it runs is refused.
type offering struct {
	*fakeNet
	signer
	commit, print string
	claims        string // in its Welcome, where that is not what its record says
	sends         []byte
	asked         []link.Hello // in the order of the probes
}

func (o *offering) Probe(_ context.Context, _ link.Target, h link.Hello) (link.Probe, error) {
	time.Sleep(time.Millisecond)
	o.fakeNet.mu.Lock()
	o.asked = append(o.asked, h)
	o.fakeNet.mu.Unlock()
	rec, err := record.Sign(o.key, record.Instance{
		Cell: testCell.ID(), Incarnation: 1, State: record.Serving, Addrs: testAddr, Commit: o.commit, Fingerprint: o.print,
		Issued: start, Expires: start.Add(time.Hour),
	})
	if err != nil {
		o.t.Error(err)
	}
	p := link.Probe{RTT: time.Millisecond, Path: link.TCP, Welcome: link.Welcome{
		Code: link.CodeOK, State: record.Serving, Incarnation: 1, Commit: o.commit, Fingerprint: o.print, Record: rec.Envelope,
	}}
	switch {
	case h.Fingerprint != "" && h.Fingerprint != o.print:
		p.Welcome.Code = link.CodeFingerprint
	case h.Commit != "" && h.Commit != o.commit:
		p.Welcome.Code = link.CodeCommit
	}
	if o.claims != "" {
		p.Welcome.Fingerprint = o.claims
	}
	if p.Welcome.Code != link.CodeOK {
		return p, &link.Refused{Code: p.Welcome.Code, Welcome: p.Welcome, Hello: h}
	}
	return p, nil
}

func (o *offering) Interface(_ context.Context, _ link.Target, h link.Hello) ([]byte, error) {
	if h.Fingerprint != o.print {
		return nil, link.ErrNoInterface
	}
	return o.sends, nil
}

// judges compares as its function does.
type judges func(wanted, offered string, sent []byte) error

func (j judges) Compare(ctx context.Context, wanted, offered string, fetch func(context.Context) ([]byte, error)) error {
	sent, err := fetch(ctx)
	if err != nil {
		return err
	}
	return j(wanted, offered, sent)
}

func TestWhatAnInstanceRunsIsJudgedByItsInterface(t *testing.T) {
	differs := errors.New("method Quote is gone")
	fits := judges(func(wanted, offered string, sent []byte) error {
		if wanted != wantedPrint || offered != otherPrint || string(sent) != "its interface" {
			return errors.New("asked to compare something else")
		}
		return nil
	})
	never := judges(func(string, string, []byte) error { return errors.New("compared for nothing") })
	for name, tt := range map[string]struct {
		runs, interfaces string // of the instance
		claims           string
		asks             Request
		judge            Interfaces
		refused          string // a part of why; empty: it is used
	}{
		"the same":                       {runs: oldCommit, interfaces: wantedPrint, judge: never},
		"the interface, another commit":  {runs: newCommit, interfaces: wantedPrint, judge: never},
		"an interface that adds":         {runs: newCommit, interfaces: otherPrint, judge: fits},
		"an interface that lacks":        {runs: newCommit, interfaces: otherPrint, judge: judges(func(string, string, []byte) error { return differs }), refused: "method Quote is gone"},
		"another, and nobody to compare": {runs: newCommit, interfaces: otherPrint, refused: "refused: fingerprint"},
		"a Welcome that is not its own":  {runs: newCommit, interfaces: otherPrint, claims: wantedPrint, judge: judges(func(string, string, []byte) error { return differs }), refused: "method Quote is gone"},
		"no interface, another commit":   {runs: newCommit, asks: Request{Commit: oldCommit}, judge: never, refused: "refused: commit"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				if tt.asks == (Request{}) {
					tt.asks = Request{Commit: oldCommit, Fingerprint: wantedPrint}
				}
				tt.asks.Cell = testCell
				s := newSigner(t)
				o := &offering{fakeNet: newFakeNet(), signer: s, commit: tt.runs, print: tt.interfaces, claims: tt.claims, sends: []byte("its interface")}
				tr := New(Config{Request: tt.asks, Ways: []Way{seedWay(s)}, Dialer: o, Interfaces: tt.judge})
				defer tr.Close()
				got, err := tr.Wait(t.Context())
				if tt.refused == "" {
					if err != nil || len(got.Instances) != 1 {
						t.Fatalf("%+v, %v", got, err)
					}
					if i := got.Instances[0]; i.Peer != s.peer || i.Fingerprint != tt.interfaces || i.Commit != tt.runs {
						t.Errorf("%+v", i)
					}
					return
				}
				var none *NoneError
				if !errors.As(err, &none) || !slices.ContainsFunc(none.Refusals, func(r Refusal) bool { return strings.Contains(r.Err.Error(), tt.refused) }) {
					t.Errorf("got %v, want a refusal with %q", err, tt.refused)
				}
			})
		})
	}
}

// An instance that was judged as good is asked from then on for what it runs, and not judged each time.
func TestAJudgedInstanceIsAskedForWhatItRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		compared := 0
		s := newSigner(t)
		o := &offering{fakeNet: newFakeNet(), signer: s, commit: newCommit, print: otherPrint}
		tr := New(Config{
			Request: Request{Cell: testCell, Commit: oldCommit, Fingerprint: wantedPrint}, Ways: []Way{seedWay(s)}, Dialer: o,
			Interfaces: judges(func(string, string, []byte) error { compared++; return nil }),
		})
		defer tr.Close()
		if _, err := tr.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		tr.Close()
		if n := len(o.asked); n < 4 || compared != 1 {
			t.Fatalf("probed %d times, compared %d times", n, compared)
		}
		for _, h := range o.asked[1:] {
			if h.Fingerprint != otherPrint || h.Commit != newCommit {
				t.Errorf("asked for %s at %s", h.Fingerprint, h.Commit)
			}
		}
	})
}

func TestAMismatchNamesBothAndTheReason(t *testing.T) {
	lacks := errors.New("method Quote is gone")
	refused := &link.Refused{Code: link.CodeFingerprint, Hello: link.Hello{Fingerprint: wantedPrint}, Welcome: link.Welcome{Fingerprint: otherPrint}}
	err := error(&MismatchError{refused, lacks})
	for _, want := range []string{"refused: fingerprint", wantedPrint, otherPrint, "method Quote is gone"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %q", want, err)
		}
	}
	if got, ok := errors.AsType[*link.Refused](err); !ok || got != refused || !errors.Is(err, lacks) {
		t.Error("what it is made of cannot be asked for")
	}
}
