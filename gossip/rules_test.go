package gossip

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// worldStart lies between two turns of a ring.
var worldStart = time.Date(2026, 11, 22, 13, 30, 0, 0, time.UTC)

func TestQuorumBySizeOfTheCell(t *testing.T) {
	for n, want := range map[int]int{2: 1, 3: 2, 4: 2, 5: 3, 8: 4, 9: 5, 16: 8, 17: 9, 18: 5, 1000: 5} {
		if got := WAN().quorum(n); got != want {
			t.Errorf("%d members: quorum %d, want %d", n, got, want)
		}
	}
}

func TestQuorumFallsAsSuspicionLasts(t *testing.T) {
	for _, tt := range []struct {
		n      int
		waited time.Duration
		want   int
	}{
		{1000, 0, 5},
		{1000, 2 * time.Second, 5},
		{1000, 3 * time.Second, 4},
		{1000, 9 * time.Second, 2},
		{1000, 29 * time.Second, 2},
		{1000, 30 * time.Second, 1}, // 10 log10 1000
		{8, 0, 4},
		{8, 6 * time.Second, 2},
		{8, 10 * time.Second, 1},
		{3, time.Second, 2},
		{3, 5 * time.Second, 1},
		{2, 0, 1},
	} {
		if got := WAN().votesNeeded(tt.n, tt.waited); got != tt.want {
			t.Errorf("%d members after %s: %d votes, want %d", tt.n, tt.waited, got, tt.want)
		}
	}
}

func TestVotesCountByTheirPatience(t *testing.T) {
	votes := func(waited ...time.Duration) (out []Vote) {
		for _, w := range waited {
			out = append(out, Vote{Waited: w * time.Second})
		}
		return out
	}
	for _, tt := range []struct {
		votes []Vote
		want  bool
	}{
		{votes(0, 0, 0, 0, 0), true},
		{votes(0, 0, 0, 0), false},
		{votes(3, 3, 3, 3), true},
		{votes(3, 3, 3, 2), false}, // the fourth has not waited long enough
		{votes(9, 9, 0), true},
		{votes(9, 8), false},
		{votes(30), true},
		{votes(29), false},
		{nil, false},
	} {
		if got := WAN().enough(1000, tt.votes); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.votes, got, tt.want)
		}
	}
}

// TestSignaturesHoldForOneThingOnly keeps the kinds, the cells and the subjects apart.
func TestSignaturesHoldForOneThingOnly(t *testing.T) {
	key, verifier := newKey(t), NewVerifier()
	n, o := peerOf(t, key), peerOf(t, newKey(t))
	vote := Vote{Voter: n, At: worldStart}
	all := [][]byte{
		voteBytes(testCell, o, Version{1, 2}, &vote), voteBytes(testCell, o, Version{2, 1}, &vote),
		voteBytes(otherCell, o, Version{1, 2}, &vote), voteBytes(testCell, n, Version{1, 2}, &vote),
		aliveBytes(testCell, o, Nonce{}), aliveBytes(otherCell, o, Nonce{}), aliveBytes(testCell, o, Nonce{1}),
	}
	for i, data := range all {
		sig, err := key.Sign(data)
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range all {
			if got := verifier.signature(n, other, sig); got != (i == j) {
				t.Errorf("signature over %d holds for %d: %v", i, j, got)
			}
		}
	}
}

func TestVerifierComputesEachSignatureOnce(t *testing.T) {
	verifier := NewVerifier()
	rec, err := record.Sign(newKey(t), record.Instance{
		Cell: testCell, Incarnation: 1, Seq: 1, State: record.Serving, Issued: worldStart, Expires: worldStart.Add(record.Validity),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := verifier.record(rec.Envelope, testCell, worldStart); err != nil {
			t.Fatal(err)
		}
	}
	if verifier.Checked() != 1 {
		t.Errorf("%d signatures computed for one record", verifier.Checked())
	}
	if _, err := verifier.record(rec.Envelope, otherCell, worldStart); err == nil {
		t.Error("a record of one cell was taken for another")
	}
	if _, err := verifier.record(rec.Envelope, testCell, worldStart.Add(record.Validity+record.Leeway+time.Second)); err == nil {
		t.Error("a known record was taken after its end")
	}
}

func peerOf(t testing.TB, key crypto.PrivKey) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// quantile of sorted durations.
func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(time.Millisecond)
}
