package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

func signed(t testing.TB, key crypto.PrivKey, change ...func(*record.Instance)) *record.Signed {
	t.Helper()
	now := time.Now()
	in := record.Instance{
		Cell: testCell, Incarnation: uint64(now.UnixMilli()), Seq: 1, State: record.Serving,
		Addrs:  []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/udp/40000/quic-v1")},
		Issued: now, Expires: now.Add(time.Hour),
	}
	for _, f := range change {
		f(&in)
	}
	s, err := record.Sign(key, in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestListBringsVerifiedMembers(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		alive, leaver := signed(t, newKey(t)), newKey(t)
		leave := signed(t, leaver, func(in *record.Instance) { in.State = record.Leaving })
		stranger := signed(t, newKey(t), func(in *record.Instance) { in.Cell = otherCell })
		i := serve(t, &handler{list: func(etag []byte) (List, error) {
			if string(etag) == "v1" {
				return List{ETag: etag, NotModified: true}, nil
			}
			return List{
				ETag: []byte("v1"), Full: true,
				Members: []Member{{Record: alive, Age: 1500 * time.Millisecond, Suspect: true}, {Record: stranger}, {Record: leave}},
				Gone: []Gone{
					{Peer: leave.Peer, Incarnation: leave.Incarnation, Reason: Left, Leave: leave},
					{Peer: stranger.Peer, Incarnation: 9, Reason: Dead},
					{Peer: alive.Peer, Incarnation: alive.Incarnation, Reason: Left, Leave: leave}, // somebody else's goodbye
					{Peer: alive.Peer, Incarnation: alive.Incarnation, Reason: "because"},
				},
			}, nil
		}})
		d := newDialer(t)
		l, err := d.List(t.Context(), i.target(i.addr(path)), hello)
		if err != nil {
			t.Fatal(err)
		}
		if !l.Full || string(l.ETag) != "v1" || len(l.Members) != 1 || len(l.Gone) != 2 || l.Refused != 4 {
			t.Fatalf("got %+v", l)
		}
		m := l.Members[0]
		if m.Record.Peer != alive.Peer || m.Age != 1500*time.Millisecond || !m.Suspect {
			t.Errorf("got %+v", m)
		}
		if g := l.Gone[0]; g.Leave == nil || g.Leave.Peer != leave.Peer || g.Reason != Left {
			t.Errorf("got %+v", g)
		}
		again := hello
		again.ETag = l.ETag
		if l, err = d.List(t.Context(), i.target(i.addr(path)), again); err != nil || !l.NotModified {
			t.Errorf("got %+v, %v", l, err)
		}
	})
}

func TestLongListComesInSeveralFrames(t *testing.T) {
	key := newKey(t)
	fat := signed(t, key, func(in *record.Instance) { in.Grant = bytes.Repeat([]byte{1}, 1500) })
	want := List{Full: true, ETag: []byte("e")}
	for range 400 { // about 660 KB
		want.Members = append(want.Members, Member{Record: fat})
	}
	i := serve(t, &handler{list: func([]byte) (List, error) { return want, nil }})
	l, err := newDialer(t).List(t.Context(), i.target(), hello)
	if err != nil || len(l.Members) != 400 || !l.Full || string(l.ETag) != "e" {
		t.Errorf("%d members, %v", len(l.Members), err)
	}
	if n := len(want.frames()); n != 3 {
		t.Errorf("%d frames, want 3", n)
	}
}

func TestListWithTooManyEntriesIsAnError(t *testing.T) {
	i := serve(t, &handler{list: func([]byte) (List, error) {
		return List{Full: true, Gone: slices.Repeat([]Gone{{Peer: newIdentity(t).Peer(), Reason: Dead}}, maxEntries+1)}, nil
	}})
	if _, err := newDialer(t).List(t.Context(), i.target(), hello); !errors.Is(err, ErrFrame) {
		t.Errorf("got %v", err)
	}
}

func TestWatchPushesChanges(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		rec := signed(t, newKey(t))
		changes := make(chan List)
		ended := make(chan error, 1)
		i := serve(t, &handler{watch: func(ctx context.Context, send func(List) error) error {
			err := send(List{Full: true, ETag: []byte("0")})
			for err == nil {
				select {
				case l := <-changes:
					err = send(l)
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			ended <- err
			return err
		}})
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan List, 1)
		done := make(chan error, 1)
		go func() {
			done <- newDialer(t).Watch(ctx, i.target(i.addr(path)), hello, func(l List) { got <- l })
		}()
		if l := <-got; !l.Full {
			t.Errorf("first call: %+v, want a full list", l)
		}
		changes <- List{ETag: []byte("1"), Members: []Member{{Record: rec}}}
		if l := <-got; l.Full || len(l.Members) != 1 || l.Members[0].Record.Peer != rec.Peer {
			t.Errorf("change: %+v", l)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("the instance did not notice that the watcher is gone")
		}
	})
}

func TestEmptyFullListIsNoSignOfLife(t *testing.T) {
	for _, l := range []List{{Full: true}, {NotModified: true}, {ETag: []byte("x")}, {Refused: 1}} {
		if l.empty() {
			t.Errorf("%+v is taken for a heartbeat", l)
		}
	}
	if l := (List{}); !l.empty() {
		t.Error("a heartbeat is taken for a list")
	}
}

func ExampleRefused() {
	err := &Refused{Code: CodeCommit, Hello: Hello{Commit: "aa"}, Welcome: Welcome{Commit: "bb"}, Detail: "upgraded today"}
	fmt.Println(err)
	// Output: link: refused: commit: want aa, runs bb: upgraded today
}
