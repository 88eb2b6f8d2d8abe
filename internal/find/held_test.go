package find

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/cellnode/cellnode/internal/link"
)

// countedStream is a connection that notes how it ended.
type countedStream struct {
	net.Conn
	resets, closes int
}

func (c *countedStream) CloseWrite() error { return nil }
func (c *countedStream) Reset() error      { c.resets++; return nil }
func (c *countedStream) Close() error      { c.closes++; return nil }

func TestConnectionsToADeadInstanceAreReset(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n, a, b := newFakeNet(), newSigner(t), newSigner(t)
		n.start(a, 1)
		n.start(b, 1)
		tr := tracker(t, n, 1, seedWay(a, b))
		settled(t, tr, 2)
		toDead, toLive, closed := &countedStream{}, &countedStream{}, &countedStream{}
		tr.held.add(a.peer, toDead)
		tr.held.add(b.peer, toLive)
		if err := tr.held.add(a.peer, closed).Close(); err != nil {
			t.Fatal(err)
		}
		n.stop(a.peer)
		for _, s := range []signer{a, b} { // of b it is a lie
			tr.Gone(Gone{Peer: s.peer, Incarnation: 1})
		}
		awaitList(t, tr, func(s Snapshot) bool {
			return len(s.Instances) == 1 && s.Instances[0].Live()
		})
		synctest.Wait()
		if toDead.resets != 1 || toLive.resets != 0 || closed.resets != 0 || closed.closes != 1 {
			t.Errorf("resets: of the dead %d, of the living %d, of one closed before %d", toDead.resets, toLive.resets, closed.resets)
		}
	})
}

func TestOwnFailureAndOthersWordMakeADeathInEitherOrder(t *testing.T) {
	for _, first := range []string{"own", "others"} {
		tab, a := newTable(), newSigner(t)
		a.answering(tab, 1)
		var dead []bool
		own := func() { dead = append(dead, tab.failed(a.peer, &link.Refused{}, true, start)) }
		others := func() { dead = append(dead, tab.gone(Gone{Peer: a.peer, Incarnation: 1}, start)) }
		if first == "own" {
			own()
			others()
		} else {
			others()
			own()
		}
		if dead[0] || !dead[1] {
			t.Errorf("%s first: dead after each: %v", first, dead)
		}
	}
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	if tab.failed(a.peer, errLost, true, start) || tab.failed(a.peer, errors.New("again"), false, start) {
		t.Error("our own failures alone are a death")
	}
}
