package dht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestPublicNetworkKeepsOneNeighbourhoodOutOfTheTable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nodes := w.nodes(10, Config{Public: true, Lean: true})
		for i := range 8 { // all in one /16
			w.node(Config{
				Public: true, Lean: true, Server: true, Bootstrap: entry(nodes[0]),
				Host: w.hostAt(fmt.Sprintf("77.7.0.%d", i+1), newKey(w)),
			})
		}
		time.Sleep(time.Minute)
		for i, d := range nodes {
			near := 0
			for _, p := range d.kad.RoutingTable().ListPeers() {
				for _, a := range d.host.Peerstore().Addrs(p) {
					if len(a.String()) > 10 && a.String()[:10] == "/ip4/77.7." {
						near++
					}
				}
			}
			if near > tableMax {
				t.Errorf("node %d has %d of one /16 in its table", i, near)
			}
		}
		key := testKey("exchange")
		w.announce(nodes[4], key)
		if _, ok := w.find(nodes[8], key)[nodes[4].host.ID()]; !ok {
			t.Error("not found on a public network")
		}
	})
}

func TestPrivateHostHasNothingToAnnounceInPublic(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.node(Config{Public: true, Server: true, Host: w.hostAt("10.0.0.1", newKey(w))})
		if _, err := d.Announce(t.Context(), testKey("exchange"), nil); !errors.Is(err, ErrNoAddress) {
			t.Errorf("err = %v", err)
		}
		a := w.startAnnouncing(d, "exchange")
		w.until("the failure to show", 5*time.Second, func() bool { return a.Status().Failures > 0 })
		if s := a.Status(); !errors.Is(s.Err, ErrNoAddress) || s.Due.IsZero() && s.Failures == 0 {
			t.Errorf("status = %+v", s)
		}
	})
}

func TestCloseEndsCallsUnderWay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		dead := w.nobody(3)
		d := w.node(Config{Server: true, Bootstrap: func() []peer.AddrInfo { return dead }})
		errs := make(chan error, 2)
		go func() { errs <- d.Find(context.Background(), testKey("exchange"), func(peer.AddrInfo) {}) }()
		go func() {
			_, err := d.Announce(context.Background(), testKey("exchange"), nil)
			errs <- err
		}()
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("err = %v", err)
			}
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		if err := d.Find(t.Context(), testKey("exchange"), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		synctest.Wait()
	})
}

func TestNewRefusesWhatCannotRun(t *testing.T) {
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("no host: no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ended, Config{Host: loopbackHost(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// noNames resolves nothing, so that a test of the Amino profile asks no name server.
type noNames struct{}

func (noNames) ResolveDNSAddr(context.Context, peer.ID, ma.Multiaddr, int, int) ([]ma.Multiaddr, error) {
	return nil, nil
}

func (noNames) ResolveDNSComponent(context.Context, ma.Multiaddr, int) ([]ma.Multiaddr, error) {
	return nil, nil
}

func TestProtocolIsOursOrAminos(t *testing.T) {
	for want, c := range map[string]Config{
		"/cell/kad/1.0.0": {Server: true},
		"/ipfs/kad/1.0.0": {Server: true, Amino: true, Lean: true},
	} {
		c.Host = loopbackHost(t, libp2p.MultiaddrResolver(noNames{}))
		d, err := New(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range c.Host.Mux().Protocols() {
			got = append(got, string(p))
		}
		if !slices.Contains(got, want) {
			t.Errorf("%s is not served: %v", want, got)
		}
		if c.Amino && (!d.cfg.Public || d.cfg.bucket != bucketSize || len(d.cfg.Bootstrap()) == 0) {
			t.Errorf("Amino runs with %+v", d.cfg)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
