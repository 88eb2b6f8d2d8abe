package dht

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
)

// sybils are colluding peers, each closer to a key than any honest one. They swallow records and answer every look-up
// with each other. The active ones name each other as providers, too, and invent peers that do not exist.
type sybils struct {
	key     cid.Cid
	members []peer.AddrInfo
	active  bool
}

// grind returns a key whose peer id lies closer to the key than limit.
func grind(t testing.TB, key cid.Cid, limit float64) crypto.PrivKey {
	for {
		priv := newKey(t)
		id, err := peer.IDFromPrivateKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		if distance(at(string(key.Hash())), at(string(id))) < limit {
			return priv
		}
	}
}

// besiege puts n Sybils round key and has them make themselves known to the honest nodes nearest to it.
func (w *world) besiege(honest []*DHT, key cid.Cid, n int, active bool) *sybils {
	w.Helper()
	centre := at(string(key.Hash()))
	near := slices.Clone(honest)
	slices.SortFunc(near, func(a, b *DHT) int {
		if distance(centre, at(string(a.host.ID()))) < distance(centre, at(string(b.host.ID()))) {
			return -1
		}
		return 1
	})
	limit := distance(centre, at(string(near[0].host.ID())))
	s := &sybils{key: key, active: active}
	var hosts []host.Host
	for range n {
		h := w.host(grind(w, key, limit))
		h.SetStreamHandler(prefix+version, s.serve)
		hosts = append(hosts, h)
		s.members = append(s.members, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()})
	}
	for i, h := range hosts {
		victims := append(slices.Clone(near[:min(12, len(near))]), near[(i*7)%len(near)], near[(i*13)%len(near)])
		for _, d := range victims {
			if err := h.Connect(w.Context(), peer.AddrInfo{ID: d.host.ID(), Addrs: d.host.Addrs()}); err != nil {
				w.Fatal(err)
			}
		}
	}
	time.Sleep(5 * time.Second) // the honest look at them and take them in
	return s
}

func (s *sybils) serve(stream network.Stream) {
	defer stream.Close()
	r, out := pbio.NewDelimitedReader(stream, network.MessageSizeMax), pbio.NewDelimitedWriter(stream)
	for {
		var m pb.Message
		if r.ReadMsg(&m) != nil {
			return
		}
		if m.Type == pb.Message_ADD_PROVIDER {
			continue
		}
		answer := pb.NewMessage(m.Type, m.Key, 0)
		if m.Type != pb.Message_PING {
			answer.CloserPeers = pb.RawPeerInfosToPBPeers(s.members)
		}
		if s.active {
			answer.CloserPeers = append(pb.RawPeerInfosToPBPeers(s.invent(8)), answer.CloserPeers...)
		}
		if m.Type == pb.Message_GET_PROVIDERS && s.active {
			answer.ProviderPeers = pb.RawPeerInfosToPBPeers(s.members)
		}
		if out.WriteMsg(answer) != nil {
			return
		}
	}
}

// invent returns peers of the key's neighbourhood at addresses where nobody is.
func (s *sybils) invent(n int) []peer.AddrInfo {
	out := make([]peer.AddrInfo, n)
	for i := range out {
		id := targets(at(string(s.key.Hash())), rand.IntN(6), 0)[0]
		addr := fmt.Sprintf("/ip4/77.%d.%d.1/udp/8000/quic-v1", rand.IntN(256), rand.IntN(256))
		out[i] = peer.AddrInfo{ID: peer.ID(id), Addrs: []ma.Multiaddr{ma.StringCast(addr)}}
	}
	return out
}

// plainFind is what any kad-dht client sees.
func plainFind(ctx context.Context, d *DHT, key cid.Cid) map[peer.ID]bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out := map[peer.ID]bool{}
	for i := range d.kad.FindProvidersAsync(ctx, key, 0) {
		out[i.ID] = true
	}
	return out
}

// regionFind is the third part of Find alone.
func regionFind(ctx context.Context, d *DHT, key cid.Cid) map[peer.ID]bool {
	out := map[peer.ID]bool{}
	s := &search{DHT: d, key: key, union: newUnion(d.host.ID(), func(i peer.AddrInfo) { out[i.ID] = true })}
	s.gets = newFanout(d.host.ID(), s.ask(ctx))
	walked := make(chan struct{})
	close(walked)
	s.sweep(ctx, walked)
	s.gets.wait()
	return out
}

func TestSybilsHideARecordFromAWalkButNotFromTheRegion(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of signatures: run without -short")
	}
	large := os.Getenv("CELL_LARGE") != ""
	for _, c := range []struct {
		bucket, honest, sybils, trials int
		active, large                  bool
	}{
		{bucket: 8, honest: 36, sybils: 18, trials: 3},
		{bucket: 8, honest: 36, sybils: 18, trials: 3, active: true},
		{bucket: 20, honest: 60, sybils: 20, trials: 12, large: true},
		{bucket: 20, honest: 60, sybils: 40, trials: 12, active: true, large: true},
		{bucket: 20, honest: 100, sybils: 20, trials: 12, large: true},
		{bucket: 20, honest: 100, sybils: 40, trials: 12, active: true, large: true},
	} {
		t.Run(fmt.Sprintf("k=%d/%d honest/%d sybils/active=%v", c.bucket, c.honest, c.sybils, c.active), func(t *testing.T) {
			if c.large && !large {
				t.Skip("CELL_LARGE is not set")
			}
			inWorld(t, func(t *testing.T, w *world) {
				nodes := w.nodes(c.honest, Config{Lean: true, bucket: c.bucket})
				key := testKey("exchange")
				w.besiege(nodes, key, c.sybils, c.active)
				var plain, region, all int
				for i := range c.trials {
					instance, client := nodes[1+2*i], nodes[c.honest-1-2*i]
					id := instance.host.ID()
					if err := instance.kad.Provide(t.Context(), key, true); err != nil {
						t.Fatal(err)
					}
					plain += hit(plainFind(t.Context(), client, key)[id])
					a := w.announce(instance, key)
					region += hit(regionFind(t.Context(), client, key)[id])
					begin := time.Now()
					found := w.find(client, key)
					all += hit(len(found[id].Addrs) > 0)
					t.Logf("%d reported in %v, network estimated at %.0f and %.0f, %+v",
						len(found), time.Since(begin), instance.size.estimate(), client.size.estimate(), a)
				}
				t.Logf("found of %d: %d by the walk after Provide, %d by region, %d by Find", c.trials, plain, region, all)
				if plain == c.trials {
					t.Error("the siege does not work: the walk alone finds the record")
				}
				if region < c.trials || all < c.trials {
					t.Error("a record was hidden")
				}
			})
		})
	}
}

func hit(ok bool) int {
	if ok {
		return 1
	}
	return 0
}
