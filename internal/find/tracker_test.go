package find

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// fakeNet answers for instances without a network. Everything takes one millisecond of the bubble's time.
type fakeNet struct {
	mu    sync.Mutex
	up    map[peer.ID]*fakeInstance
	asked map[peer.ID]asked
}

// asked counts what one instance was asked.
type asked struct{ probes, urgent, opens int }

func (n *fakeNet) count(id peer.ID, f func(*asked)) asked {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.asked[id]
	f(&a)
	n.asked[id] = a
	return a
}

func (n *fakeNet) counts(id peer.ID) asked { return n.count(id, func(*asked) {}) }

type fakeInstance struct {
	signer
	incarnation uint64
	state       record.State
	refuse      error
	refuseOpen  error
	hangOpen    bool
	silent      bool // it answers nothing, as behind a wire that is cut
	listless    bool
	push        chan link.List // what its watchers are told
	grant       []byte
	trust       []byte // the document that it shows in its list
	lists       int    // how often it was asked for that
}

func newFakeNet() *fakeNet {
	return &fakeNet{up: map[peer.ID]*fakeInstance{}, asked: map[peer.ID]asked{}}
}

func (n *fakeNet) start(s signer, incarnation uint64) *fakeInstance {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := &fakeInstance{signer: s, incarnation: incarnation, state: record.Serving, push: make(chan link.List, 8)}
	n.up[s.peer] = i
	return i
}

// change changes what an instance does.
func (n *fakeNet) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *fakeNet) stop(id peer.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.up, id)
}

func (n *fakeNet) instance(ctx context.Context, id peer.ID) (fakeInstance, error) {
	time.Sleep(time.Millisecond)
	n.mu.Lock()
	i := n.up[id]
	if i == nil {
		n.mu.Unlock()
		return fakeInstance{}, errLost
	}
	now := *i
	n.mu.Unlock()
	if now.silent {
		<-ctx.Done()
		return now, ctx.Err()
	}
	return now, now.refuse
}

func (n *fakeNet) Probe(ctx context.Context, to link.Target, _ link.Hello) (link.Probe, error) {
	n.count(to.Peer, func(a *asked) {
		a.probes++
		if to.Urgent {
			a.urgent++
		}
	})
	i, err := n.instance(ctx, to.Peer)
	if err != nil {
		return link.Probe{}, err
	}
	return link.Probe{RTT: time.Millisecond, Path: "tcp", Welcome: link.Welcome{
		Code: link.CodeOK, State: i.state, Incarnation: i.incarnation, Record: i.granted(i.grant, i.incarnation, 0, i.state).Envelope,
	}}, nil
}

func (n *fakeNet) Open(ctx context.Context, to link.Target, _ link.Hello) (*link.Conn, error) {
	n.count(to.Peer, func(a *asked) { a.opens++ })
	i, err := n.instance(ctx, to.Peer)
	if err != nil {
		return nil, err
	}
	if i.hangOpen {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, i.refuseOpen
}

func (n *fakeNet) Interface(context.Context, link.Target, link.Hello) ([]byte, error) {
	return nil, link.ErrNoInterface
}

func (n *fakeNet) List(ctx context.Context, to link.Target, _ link.Hello) (link.List, error) {
	i, err := n.instance(ctx, to.Peer)
	if err != nil {
		return link.List{}, err
	}
	n.change(func() { n.up[to.Peer].lists++ })
	return link.List{Full: true, Trust: i.trust}, nil
}

func (n *fakeNet) Watch(ctx context.Context, to link.Target, _ link.Hello, each func(link.List)) error {
	i, err := n.instance(ctx, to.Peer)
	if err != nil {
		return err
	}
	if i.listless {
		return errLost
	}
	each(link.List{Full: true})
	for {
		select {
		case l, open := <-i.push:
			if !open {
				return errLost
			}
			each(l)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func seedWay(signers ...signer) Way {
	return Way{Name: Seed, Run: func(_ context.Context, sink Sink) error {
		for _, s := range signers {
			sink.Found(Candidate{Peer: s.peer, Addrs: testAddr, Way: Seed, Trusted: true})
		}
		return nil
	}}
}

// tracker starts one in a bubble whose clock stands at the time of the test's records.
func tracker(t *testing.T, n *fakeNet, follow int, ways ...Way) *Tracker {
	t.Helper()
	tr := New(Config{Request: Request{Cell: testCell}, Ways: ways, Dialer: n, Follow: follow})
	t.Cleanup(func() { tr.Close() })
	return tr
}

// inBubble runs f in virtual time that begins at start, because records carry real times.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		saved := start
		start = time.Now()
		t.Cleanup(func() { start = saved })
		f(t)
	})
}

func TestFirstAnswerIsUsedWhileOthersAreSilent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, dead := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		hanging := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }}
		tr := tracker(t, n, 0, seedWay(dead, a), hanging)
		began := time.Now()
		s, err := tr.Wait(t.Context())
		if err != nil || s.Instances[0].Peer != a.peer {
			t.Fatalf("got %+v, %v", s.Instances, err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("waited %s for a way that hangs or an instance that is dead", took)
		}
	})
}

func TestListSettlesWhileOneWayHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1)
		hanging := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error { <-ctx.Done(); return ctx.Err() }}
		tr := tracker(t, n, 0, seedWay(a), hanging)
		began := time.Now()
		settled(t, tr, 1)
		if took := time.Since(began); took > 2*quietAfter {
			t.Errorf("settled after %s", took)
		}
	})
}

func TestNothingFoundIsNotSettledWhileAWayGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		slow := Way{Name: DHT, Run: func(ctx context.Context, _ Sink) error {
			select {
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
			}
			return nil
		}}
		tr := tracker(t, newFakeNet(), 0, slow)
		began := time.Now()
		settled(t, tr, 0)
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("settled after %s", took)
		}
	})
}

func TestNoneSaysWhatEachWayAndCandidateAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, dead, other := newFakeNet(), newSigner(t), newSigner(t)
		n.start(other, 1).refuse = &link.Refused{Code: link.CodeCell, Detail: "not served here"}
		broken := Way{Name: DHT, Run: func(context.Context, Sink) error { return errors.New("no entry point answers") }}
		tr := tracker(t, n, 2, seedWay(dead, other), broken)
		_, err := tr.Wait(t.Context())
		var none *NoneError
		if !errors.As(err, &none) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{testCell.String(), "seed: 2", "dht: no entry point answers", "lost", "not served here"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in: %v", want, err)
			}
		}
	})
}

func TestPushedDeathPrunesAtOnceAndALiveOneStays(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b, c := newFakeNet(), newSigner(t), newSigner(t), newSigner(t)
		var up []*fakeInstance
		for _, s := range []signer{a, b, c} {
			up = append(up, n.start(s, 1))
		}
		tr := tracker(t, n, 2, seedWay(a, b, c))
		settled(t, tr, 3)
		n.stop(c.peer)
		began := time.Now()
		for _, i := range up[:2] { // whichever of them is followed
			i.push <- link.List{Gone: []link.Gone{{Peer: c.peer, Incarnation: 1, Reason: link.Dead}, {Peer: b.peer, Incarnation: 1, Reason: link.Dead}}}
		}
		up[2].push <- link.List{Gone: []link.Gone{{Peer: c.peer, Incarnation: 1, Reason: link.Dead}}}
		awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 2 })
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("pruned after %s", took)
		}
		synctest.Wait()
		if s := tr.Snapshot(); len(s.Instances) != 2 {
			t.Errorf("a live one that was called dead is gone: %+v", s.Instances)
		}
	})
}

func TestFollowedInstanceThatDiesIsNoticedAndReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		n.start(b, 1)
		tr := tracker(t, n, 1, seedWay(a, b))
		settled(t, tr, 2)
		n.stop(a.peer)
		n.stop(b.peer)
		// Nobody pushes anything, and the streams hang: the tracker's own probes notice.
		awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 0 })
		n.start(b, 2)
		awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 1 && s.Instances[0].Incarnation == 2 })
	})
}

func TestInstanceThatLeavesOrServesNoListIsReplacedAtOnce(t *testing.T) {
	for name, breaks := range map[string]func(*fakeInstance){
		"leaves, and keeps its streams open": func(i *fakeInstance) {
			goodbye := i.record(1, 1, record.Leaving)
			i.push <- link.List{Gone: []link.Gone{{Peer: i.peer, Incarnation: 1, Reason: link.Left, Leave: goodbye}}}
		},
		"serves no list": func(i *fakeInstance) { i.listless = true },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				n, near, far, newcomer := newFakeNet(), newSigner(t), newSigner(t), newSigner(t)
				breaks(n.start(near, 1))
				other := n.start(far, 1)
				tr := tracker(t, n, 1, seedWay(near))
				time.Sleep(10 * time.Millisecond) // the near one has been asked for its list
				tr.Found(Candidate{Peer: far.peer, Addrs: testAddr, Way: DHT})
				awaitList(t, tr, lists(far.peer))
				i := n.start(newcomer, 1)
				began := time.Now()
				other.push <- link.List{Members: []link.Member{{Record: i.record(1, 0, record.Serving)}}}
				awaitList(t, tr, lists(newcomer.peer))
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("the newcomer was heard of after %s", took)
				}
			})
		})
	}
}

func TestInstanceThatFallsSilentIsReplacedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, near, far, newcomer := newFakeNet(), newSigner(t), newSigner(t), newSigner(t)
		silent, other := n.start(near, 1), n.start(far, 1)
		tr := tracker(t, n, 1, seedWay(near))
		time.Sleep(10 * time.Millisecond) // the near one has been asked for its list
		tr.Found(Candidate{Peer: far.peer, Addrs: testAddr, Way: DHT})
		awaitList(t, tr, lists(far.peer))
		n.change(func() { silent.silent = true })
		close(silent.push)
		i := n.start(newcomer, 1)
		began := time.Now()
		other.push <- link.List{Members: []link.Member{{Record: i.record(1, 0, record.Serving)}}}
		awaitList(t, tr, lists(newcomer.peer))
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the newcomer was heard of after %s", took)
		}
	})
}

func TestInstanceThatServesNoListIsAskedForItLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, near, far, newcomer := newFakeNet(), newSigner(t), newSigner(t), newSigner(t)
		n.start(near, 1)
		other := n.start(far, 1)
		other.listless = true
		tr := tracker(t, n, 2, seedWay(near, far))
		settled(t, tr, 2)
		time.Sleep(aliveProbe + 3*time.Second) // both have been asked for their lists, and nothing else is about to happen
		n.change(func() { other.listless = false })
		i := n.start(newcomer, 1)
		began := time.Now()
		other.push <- link.List{Members: []link.Member{{Record: i.record(1, 0, record.Serving)}}}
		awaitList(t, tr, lists(newcomer.peer))
		if took := time.Since(began); took > lonelyProbe+100*time.Millisecond {
			t.Errorf("the newcomer was heard of after %s", took)
		}
	})
}

func TestBusyInstanceStaysListed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a := newFakeNet(), newSigner(t)
		i := n.start(a, 1)
		tr := tracker(t, n, 0, seedWay(a))
		settled(t, tr, 1)
		n.change(func() { i.refuse = &link.Refused{Code: link.CodeBusy} })
		for range 5 {
			tr.Failed(tr.Snapshot().Instances[0])
			time.Sleep(time.Second)
			if s := tr.Snapshot(); len(s.Instances) != 1 {
				t.Fatalf("pruned, though it answers that it is busy: %v", s.Refused)
			}
		}
		if probes := n.counts(a.peer).probes; probes > 10 {
			t.Errorf("%d probes in 5 s of one that is busy", probes)
		}
	})
}

func TestWaysAreAskedAgainWhenTheLastInstanceIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		asked := 0
		way := Way{Name: DHT, Run: func(_ context.Context, sink Sink) error {
			asked++
			id := a.peer
			if asked > 1 {
				id = b.peer
			}
			sink.Found(Candidate{Peer: id, Addrs: testAddr, Way: DHT})
			return nil
		}}
		tr := tracker(t, n, 0, way)
		settled(t, tr, 1)
		n.stop(a.peer)
		n.start(b, 1)
		began := time.Now()
		tr.Failed(tr.Snapshot().Instances[0])
		awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 1 && s.Instances[0].Peer == b.peer })
		if took := time.Since(began); took > time.Second {
			t.Errorf("found again after %s", took)
		}
	})
}

func TestNewcomerIsPushed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		up := n.start(a, 1)
		tr := tracker(t, n, 2, seedWay(a))
		settled(t, tr, 1)
		n.start(b, 1)
		began := time.Now()
		up.push <- link.List{Members: []link.Member{{Record: b.record(1, 0, record.Serving)}}}
		s := awaitList(t, tr, func(s Snapshot) bool { return len(s.Instances) == 2 })
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %s", took)
		}
		at := slices.IndexFunc(s.Instances, func(i Instance) bool { return i.Peer == b.peer })
		if at < 0 || !slices.Equal(s.Instances[at].Sources, []string{List}) {
			t.Errorf("got %+v", s.Instances)
		}
	})
}

func TestRecordOfAnotherIsNoAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, impostor := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		n.mu.Lock()
		n.up[impostor.peer] = n.up[a.peer] // answers, with a's record
		n.mu.Unlock()
		tr := tracker(t, n, 0, seedWay(impostor))
		if s, err := tr.Wait(t.Context()); err == nil {
			t.Fatalf("listed: %+v", s.Instances)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, func(t *testing.T) { // the bubble fails if a goroutine is left
		n, a := newFakeNet(), newSigner(t)
		n.start(a, 1)
		tr := New(Config{Request: Request{Cell: testCell}, Ways: []Way{seedWay(a)}, Dialer: n, Follow: 2})
		settled(t, tr, 1)
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func settled(t *testing.T, tr *Tracker, instances int) {
	t.Helper()
	s, err := tr.Settle(t.Context())
	if err != nil || len(s.Instances) != instances {
		t.Fatalf("settled with %d instances, want %d: %v", len(s.Instances), instances, err)
	}
}

// lists reports whether a list has an instance.
func lists(id peer.ID) func(Snapshot) bool {
	return func(s Snapshot) bool {
		return slices.ContainsFunc(s.Instances, func(i Instance) bool { return i.Peer == id })
	}
}

func awaitList(t *testing.T, tr *Tracker, done func(Snapshot) bool) Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := tr.Snapshot()
	for !done(s) {
		var err error
		if s, err = tr.Next(ctx, s); err != nil {
			t.Fatalf("within a minute: %v; known: %+v", err, s.Instances)
		}
	}
	return s
}
