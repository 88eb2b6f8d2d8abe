package gossip

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// flooder sends a member frames full of records that are well formed, fresh and validly addressed, with a wrong signature.
type flooder struct {
	id    peer.ID
	hello []byte
	frame []byte
}

const floodRecords = 100 // in a frame

func floodRecord(tb testing.TB, key crypto.PrivKey, seq uint64, now time.Time) *record.Signed {
	tb.Helper()
	rec, err := record.Sign(key, record.Instance{
		Cell: testCell, Incarnation: uint64(now.UnixMilli()), Seq: seq, State: record.Serving, Issued: now, Expires: now.Add(record.Validity),
		Addrs: []ma.Multiaddr{ma.StringCast("/ip4/198.51.100.7/udp/40000/quic-v1"), ma.StringCast("/ip4/198.51.100.7/tcp/40000/tls")},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

func newFlooder(tb testing.TB, now time.Time) *flooder {
	tb.Helper()
	key := newKey(tb)
	own := floodRecord(tb, key, 1, now)
	f := &flooder{id: own.Peer}
	var err error
	if f.hello, err = Encode(&Hello{Record: own.Envelope, Count: 1}, testCell); err != nil {
		tb.Fatal(err)
	}
	push := &Push{}
	for i := range floodRecords {
		envelope := floodRecord(tb, newKey(tb), uint64(i), now).Envelope
		envelope[len(envelope)-1] ^= 1
		push.Records = append(push.Records, envelope)
	}
	if f.frame, err = Encode(push, testCell); err != nil {
		tb.Fatal(err)
	}
	return f
}

func newVictim(tb testing.TB, now time.Time) *Machine {
	tb.Helper()
	key := newKey(tb)
	m, err := NewMachine(MachineConfig{Key: key, Record: floodRecord(tb, key, 1, now), Profile: LAN(), Rand: rand.New(rand.NewPCG(1, 2))}, now)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// receive is what the driver does with a frame.
func receive(tb testing.TB, m *Machine, now time.Time, from peer.ID, frame []byte) {
	tb.Helper()
	msg, err := Decode(frame)
	if err != nil {
		tb.Fatal(err)
	}
	m.Receive(now, from, msg)
	m.Take()
}

func TestWhoeverSendsWorthlessRecordsIsShutOut(t *testing.T) {
	now := worldStart
	m, bad := newVictim(t, now), newFlooder(t, now)
	receive(t, m, now, bad.id, bad.hello)
	receive(t, m, now, bad.id, bad.frame)
	if !m.isBanned(bad.id) {
		t.Error("a frame of worthless records did not end the link")
	}
	if n := m.Len(); n != 2 {
		t.Errorf("%d members, want this one and the sender", n)
	}
	honest := newFlooder(t, now)
	receive(t, m, now, honest.id, honest.hello)
	if !m.Lists(honest.id) {
		t.Error("an honest newcomer is not taken")
	}
}

// BenchmarkWorthlessRecords is what records with wrong signatures cost at 50,000 a second, from one neighbour and from
// twenty, each of whom comes back as soon as it is let in again. core-% is of one processor.
func BenchmarkWorthlessRecords(b *testing.B) {
	for _, peers := range []int{1, 20} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			now := worldStart
			m := newVictim(b, now)
			var bad []*flooder
			for range peers {
				bad = append(bad, newFlooder(b, now))
			}
			const rate = 50_000
			b.ResetTimer()
			for i := range b.N {
				now = now.Add(floodRecords * time.Second / rate)
				f := bad[i%peers]
				if !m.isBanned(f.id) {
					receive(b, m, now, f.id, f.hello)
				}
				receive(b, m, now, f.id, f.frame)
				m.Tick(now)
				m.Take()
			}
			perRecord := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / floodRecords
			b.ReportMetric(perRecord, "ns/record")
			b.ReportMetric(100*perRecord*rate/1e9, "core-%")
		})
	}
}
