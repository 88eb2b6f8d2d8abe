package find

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

var (
	testCell = manifest.Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}
	testAddr = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/40000/tls")}
	errLost  = errors.New("lost")
	start    = time.Now()
)

// signer makes the records of one instance.
type signer struct {
	t    *testing.T
	key  crypto.PrivKey
	peer peer.ID
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, key, id}
}

func (s signer) record(incarnation, seq uint64, state record.State) *record.Signed {
	s.t.Helper()
	return s.granted(nil, incarnation, seq, state)
}

func (s signer) granted(grant []byte, incarnation, seq uint64, state record.State) *record.Signed {
	s.t.Helper()
	r, err := record.Sign(s.key, record.Instance{
		Cell: testCell.ID(), Incarnation: incarnation, Seq: seq, State: state, Addrs: testAddr, Grant: grant,
		Issued: start, Expires: start.Add(time.Hour),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s signer) answer(incarnation uint64, rtt time.Duration) answer {
	return answer{rtt: rtt, path: "tcp", state: record.Serving, record: s.record(incarnation, 0, record.Serving)}
}

// answering puts an instance into a table that has answered one probe.
func (s signer) answering(t *table, incarnation uint64) {
	t.found(Candidate{Peer: s.peer, Addrs: testAddr, Way: Seed, Trusted: true}, start)
	t.due(start, 100, true)
	t.answered(s.peer, s.answer(incarnation, time.Millisecond), start)
}

func live(t *table) []peer.ID {
	var ids []peer.ID
	for _, i := range t.instances() {
		ids = append(ids, i.Peer)
	}
	return ids
}

func TestOnlyWhatAnsweredIsAnInstance(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	tab.found(Candidate{Peer: a.peer, Addrs: testAddr, Way: DHT, Record: a.record(1, 0, record.Serving)}, start)
	if got := live(tab); len(got) != 0 {
		t.Fatalf("before it answered: %v", got)
	}
	if due := tab.due(start, 10, true); len(due) != 1 || due[0].peer != a.peer {
		t.Fatalf("due: %v", due)
	}
	tab.answered(a.peer, a.answer(1, time.Millisecond), start)
	if got := live(tab); !slices.Equal(got, []peer.ID{a.peer}) {
		t.Fatalf("after it answered: %v", got)
	}
}

func TestOneLostProbeIsNoDeath(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	tab.failed(a.peer, errLost, false, start)
	if len(live(tab)) != 1 {
		t.Fatal("pruned after one lost probe")
	}
	if due := tab.due(start, 10, true); len(due) != 1 {
		t.Fatal("not asked again at once")
	}
	tab.failed(a.peer, errLost, false, start)
	if len(live(tab)) != 0 {
		t.Fatal("not pruned after two")
	}
}

func TestReportedDeathCostsAProbeAndNoMore(t *testing.T) {
	for _, alive := range []bool{true, false} {
		tab, a := newTable(), newSigner(t)
		a.answering(tab, 1)
		tab.gone(Gone{Peer: a.peer, Incarnation: 1}, start)
		if list := tab.instances(); len(list) != 1 || list[0].Live() || !list[0].Usable() {
			t.Fatalf("hearsay pruned it, or did not put it last: %+v", list)
		}
		if len(tab.due(start, 10, true)) != 1 {
			t.Fatal("no probe is due")
		}
		if alive {
			tab.answered(a.peer, a.answer(1, time.Millisecond), start)
		} else {
			tab.failed(a.peer, errLost, false, start)
		}
		list := tab.instances()
		if got := len(list) == 1 && list[0].Live(); got != alive {
			t.Fatalf("answers: %v, listed: %v", alive, got)
		}
	}
}

func TestOldDeathDoesNotTouchANewIncarnation(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 2)
	tab.gone(Gone{Peer: a.peer, Incarnation: 1}, start)
	if len(tab.due(start, 10, true)) != 0 {
		t.Fatal("a death of the incarnation before made a probe due")
	}
	tab.gone(Gone{Peer: a.peer, Incarnation: 1, Leave: a.record(1, 9, record.Leaving)}, start)
	if len(live(tab)) != 1 {
		t.Fatal("a goodbye of the incarnation before removed it")
	}
}

func TestLeaverDoesNotComeBackWithinItsIncarnation(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	tab.gone(Gone{Peer: a.peer, Incarnation: 1, Leave: a.record(1, 9, record.Leaving)}, start)
	if len(live(tab)) != 0 {
		t.Fatal("still listed after its goodbye")
	}
	tab.found(Candidate{Peer: a.peer, Way: List, Record: a.record(1, 3, record.Serving)}, start)
	if len(tab.entries) != 0 {
		t.Fatal("an old record brought it back")
	}
	tab.found(Candidate{Peer: a.peer, Way: List, Record: a.record(2, 0, record.Serving)}, start)
	if len(tab.due(start, 10, true)) != 1 {
		t.Fatal("its next incarnation is not probed")
	}
}

func TestForgedGoodbyeIsHearsay(t *testing.T) {
	tab, a, liar := newTable(), newSigner(t), newSigner(t)
	a.answering(tab, 1)
	tab.gone(Gone{Peer: a.peer, Incarnation: 1, Leave: liar.record(1, 9, record.Leaving)}, start)
	if len(live(tab)) != 1 {
		t.Fatal("somebody else's goodbye removed it")
	}
}

func TestDrainingIsSeenAtOnceAndTakesNoCalls(t *testing.T) {
	tab, a, b := newTable(), newSigner(t), newSigner(t)
	a.answering(tab, 1)
	b.answering(tab, 1)
	tab.found(Candidate{Peer: a.peer, Way: List, Record: a.record(1, 1, record.Draining)}, start)
	list := tab.instances()
	if len(list) != 2 || list[0].Peer != b.peer || list[1].Usable() {
		t.Fatalf("got %+v", list)
	}
}

func TestNearestUsableStandsFirst(t *testing.T) {
	tab := newTable()
	rtts := []time.Duration{9, 3, 7}
	for _, rtt := range rtts {
		s := newSigner(t)
		tab.found(Candidate{Peer: s.peer, Addrs: testAddr, Way: Seed}, start)
		tab.answered(s.peer, s.answer(1, rtt*time.Millisecond), start)
	}
	var got []time.Duration
	for _, i := range tab.instances() {
		got = append(got, i.RTT/time.Millisecond)
	}
	if !slices.Equal(got, []time.Duration{3, 7, 9}) {
		t.Fatalf("order: %v", got)
	}
}

func TestUnknownThatNeverAnswersIsForgotten(t *testing.T) {
	tab, a, own := newTable(), newSigner(t), newSigner(t)
	tab.found(Candidate{Peer: a.peer, Addrs: testAddr, Way: DHT}, start)
	tab.found(Candidate{Peer: own.peer, Addrs: testAddr, Way: Seed, Trusted: true}, start)
	now := start
	for range forgetAfter {
		now = now.Add(retryMax)
		if len(tab.due(now, 10, true)) != 2 {
			t.Fatal("a silent candidate is not asked again")
		}
		tab.failed(a.peer, errLost, false, now)
		tab.failed(own.peer, errLost, false, now)
	}
	if tab.entries[a.peer] != nil {
		t.Error("a hint from the DHT that never answers is kept for ever")
	}
	if tab.entries[own.peer] == nil {
		t.Error("a seed of our own files was forgotten")
	}
}

func TestTableIsBounded(t *testing.T) {
	tab := newTable()
	for n := range maxEntries + 10 {
		tab.found(Candidate{Peer: peer.ID([]byte{byte(n >> 8), byte(n)}), Addrs: testAddr, Way: DHT}, start)
	}
	if len(tab.entries) != maxEntries {
		t.Fatalf("%d entries", len(tab.entries))
	}
}

func TestFloodOfInventedPeersShutsNobodyOut(t *testing.T) {
	tab, own, known := newTable(), newSigner(t), newSigner(t)
	for n := range 2 * maxEntries {
		tab.found(Candidate{Peer: peer.ID([]byte{byte(n >> 8), byte(n)}), Addrs: testAddr, Way: DHT}, start)
	}
	tab.found(Candidate{Peer: own.peer, Addrs: testAddr, Way: Seed, Trusted: true}, start)
	tab.found(Candidate{Peer: known.peer, Way: List, Record: known.record(1, 0, record.Serving)}, start)
	if tab.entries[own.peer] == nil || tab.entries[known.peer] == nil || len(tab.entries) != maxEntries {
		t.Errorf("a seed or a signed record was not taken, or %d entries are held", len(tab.entries))
	}
	hint := newSigner(t)
	for _, e := range tab.due(start, 8, true) {
		tab.failed(e.peer, errLost, false, start)
	}
	tab.found(Candidate{Peer: hint.peer, Addrs: testAddr, Way: DHT}, start)
	if tab.entries[hint.peer] == nil {
		t.Error("a hint was not taken in place of one that did not answer")
	}
}

func TestLiarsAtMostDoubleTheProbesOfALivingInstance(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	probes := 0
	const length = 10 * time.Minute
	for now := start; now.Before(start.Add(length)); now = now.Add(100 * time.Millisecond) {
		tab.gone(Gone{Peer: a.peer, Incarnation: 1}, now)
		for range tab.due(now, 10, true) {
			probes++
			tab.answered(a.peer, a.answer(1, time.Millisecond), now)
		}
	}
	if limit := int(2 * length / aliveProbe); probes > limit {
		t.Errorf("%d probes, %d without lies", probes, limit/2)
	}
	tab.failed(a.peer, errLost, true, start.Add(length))
	tab.answered(a.peer, a.answer(1, time.Millisecond), start.Add(length))
	tab.gone(Gone{Peer: a.peer, Incarnation: 1}, start.Add(length+aliveProbe))
	if len(tab.due(start.Add(length+aliveProbe), 10, true)) != 1 {
		t.Error("a report is not looked into any more")
	}
}

func TestLocalServiceGoesWithItsRegistration(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	tab.found(Candidate{Peer: a.peer, Way: Local, Socket: "unix:/run/exchange.sock", Commit: "ab"}, start)
	list := tab.instances()
	if len(list) != 1 || list[0].Path != Local || list[0].Commit != "ab" {
		t.Fatalf("got %+v", list)
	}
	tab.dropSockets(map[peer.ID]bool{a.peer: true}, start)
	if len(tab.instances()) != 1 {
		t.Fatal("gone while it is registered")
	}
	tab.dropSockets(nil, start)
	if len(tab.entries) != 0 {
		t.Fatal("still known")
	}
	a.answering(tab, 1)
	tab.found(Candidate{Peer: a.peer, Way: Local, Socket: "unix:/run/exchange.sock"}, start)
	tab.dropSockets(nil, start)
	if due := tab.due(start, 10, true); len(tab.instances()) != 0 || len(due) != 1 {
		t.Fatal("one that the network knows, too, is not probed there")
	}
}

func TestLocalServiceThatFailedACallIsWaitedForUntilTheNextLook(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	tab.found(Candidate{Peer: a.peer, Way: Local, Socket: "unix:/run/exchange.sock"}, start)
	tab.demote(tab.instances()[0], errLost, start)
	if len(tab.instances()) != 0 || !tab.pending() {
		t.Error("it is listed, or not waited for")
	}
	tab.dropSockets(nil, start)
	if tab.pending() {
		t.Error("it is waited for though it is not named any more")
	}
}

func TestThoseWhoAnsweredBeforeAreAskedFirst(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	for range 100 {
		tab.found(Candidate{Peer: newSigner(t).peer, Addrs: testAddr, Way: DHT}, start)
	}
	tab.gone(Gone{Peer: a.peer, Incarnation: 1}, start.Add(time.Second))
	if due := tab.due(start.Add(time.Second), 8, true); due[0].peer != a.peer {
		t.Error("one that is called dead waits behind a hundred that nobody has seen")
	}
}

func TestNewLifeOfAnInstanceIsAskedAtOnce(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	a.answering(tab, 1)
	tab.found(Candidate{Peer: a.peer, Way: List, Record: a.record(1, 1, record.Serving)}, start)
	before := tab.version
	if len(tab.due(start, 10, true)) != 0 {
		t.Error("a renewed record makes a probe due")
	}
	tab.found(Candidate{Peer: a.peer, Way: List, Record: a.record(2, 0, record.Serving)}, start)
	if tab.version == before || len(tab.due(start, 10, true)) != 1 {
		t.Error("nobody looks what another process of the instance runs")
	}
}

func TestAddressesOfALocalServiceChangeNothing(t *testing.T) {
	tab, a := newTable(), newSigner(t)
	tab.found(Candidate{Peer: a.peer, Way: Local, Socket: "unix:/run/exchange.sock"}, start)
	tab.found(Candidate{Peer: a.peer, Way: Seed, Addrs: testAddr, Trusted: true}, start)
	if list := tab.instances(); len(list) != 1 || list[0].Path != Local || len(list[0].Sources) != 2 {
		t.Fatalf("got %+v", list)
	}
}

// A client of a large cell knows hundreds of instances, and calls go to the nearest few.
func TestProbesOfALargeCellGoToTheNearest(t *testing.T) {
	for _, followed := range []bool{true, false} {
		tab, byPeer := newTable(), map[peer.ID]int{}
		signers := map[peer.ID]signer{}
		for n := range maxEntries {
			s := newSigner(t)
			byPeer[s.peer], signers[s.peer] = n, s
			tab.found(Candidate{Peer: s.peer, Addrs: testAddr, Way: List}, start)
		}
		answer := func(e *entry, now time.Time) {
			tab.answered(e.peer, signers[e.peer].answer(1, time.Duration(byPeer[e.peer]+1)*time.Millisecond), now)
		}
		for _, e := range tab.due(start, maxEntries, followed) {
			answer(e, start)
		}
		settled := start.Add(farProbe) // until then those that answered when few were known are taken for near
		var near, far int
		for now := start; now.Before(settled.Add(farProbe)); now = now.Add(100 * time.Millisecond) {
			for _, e := range tab.due(now, maxEntries, followed) {
				switch {
				case now.Before(settled):
				case byPeer[e.peer] < watched:
					near++
				default:
					far++
				}
				answer(e, now)
			}
		}
		interval := map[bool]time.Duration{true: aliveProbe, false: lonelyProbe}[followed]
		if want := watched * int(farProbe/interval); near < want*9/10 || near > want*11/10 {
			t.Errorf("followed %v: %d probes of the nearest in %s, want %d", followed, near, farProbe, want)
		}
		if want := maxEntries - watched; far > want*11/10 || far < want*9/10 {
			t.Errorf("followed %v: %d probes of the others in %s, want %d", followed, far, farProbe, want)
		}
	}
}
