package link

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

var _ QUICListener = quicreuse.Listener(nil)

// newHost builds a libp2p host that listens on one UDP port through a connection manager of ours.
func newHost(t *testing.T, opts ...libp2p.Option) (h host.Host, cm *quicreuse.ConnManager) {
	t.Helper()
	h, err := libp2p.New(append(opts,
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.QUICReuse(func(reset quic.StatelessResetKey, token quic.TokenGeneratorKey) (*quicreuse.ConnManager, error) {
			var err error
			cm, err = quicreuse.NewConnManager(reset, token)
			return cm, err
		}),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		cm.Close() // the host does not close a manager that was handed in
	})
	return h, cm
}

// TestOneUDPPortServesLibp2pAndCell1 is how the overlay uses this package: the connection manager that goes into
// libp2p.QUICReuse also gives out the listener for cell/1.
func TestOneUDPPortServesLibp2pAndCell1(t *testing.T) {
	key := newKey(t)
	h, cm := newHost(t, libp2p.Identity(key))
	id, err := NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	addr := h.Network().ListenAddresses()[0]
	// quicreuse calls the last argument without looking whether it is nil.
	ln, err := cm.ListenQUIC(addr, id.ServerTLS(), func(*quic.Conn, uint64) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if got := ln.Multiaddrs()[0]; !got.Equal(addr) {
		t.Errorf("cell/1 is on %s, libp2p on %s", got, addr)
	}
	s, err := NewServer(ServerConfig{Identity: id, Handler: &handler{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.ServeQUIC(ln)

	other, _ := newHost(t)
	pinged := func() error {
		ctx := withTimeout(t, 5*time.Second)
		if err := other.Connect(ctx, peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return (<-ping.Ping(ctx, other, h.ID())).Error
	}
	if err := pinged(); err != nil {
		t.Fatalf("libp2p before: %v", err)
	}

	d := newDialer(t)
	to := Target{Peer: h.ID(), Addrs: []ma.Multiaddr{addr}}
	c := open(t, d, to)
	echo(t, c, "beside libp2p")
	if _, err := d.Probe(t.Context(), to, hello); err != nil {
		t.Error(err)
	}
	wrong := Target{Peer: other.ID(), Addrs: to.Addrs}
	if _, err := d.Open(withTimeout(t, 5*time.Second), wrong, hello); !errors.Is(err, ErrWrongPeer) {
		t.Errorf("wrong peer: %v", err)
	}
	if err := pinged(); err != nil {
		t.Errorf("libp2p beside cell/1: %v", err)
	}
	for _, p := range h.Network().Peers() {
		if p != other.ID() {
			t.Errorf("libp2p took a cell/1 connection of %s for its own", p)
		}
	}

	s.Close()
	if err := gone(t, c); err == nil {
		t.Error("the stream ended cleanly")
	}
	other.Network().ClosePeer(h.ID()) // so that it must connect anew
	if err := pinged(); err != nil {
		t.Errorf("libp2p after cell/1 has ended: %v", err)
	}
}
