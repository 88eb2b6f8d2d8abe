package overlay

import (
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/daemon"
)

func TestWhatOthersSeeOfANodeIsInItsStatus(t *testing.T) {
	r := new(reachable)
	if s := r.status(); s.UDP != daemon.NATUnknown || s.Confirmed == nil || len(s.Confirmed) != 0 {
		t.Errorf("at first: %+v", s)
	}
	const addr = "/ip4/8.8.8.8/udp/40000/quic-v1"
	r.take(event.EvtHostReachableAddrsChanged{Reachable: []ma.Multiaddr{ma.StringCast(addr)}})
	r.take(event.EvtNATDeviceTypeChanged{TransportProtocol: network.NATTransportTCP, NatDeviceType: network.NATDeviceTypeEndpointDependent})
	if s := r.status(); s.UDP != daemon.NATUnknown || !slices.Equal(s.Confirmed, []string{addr}) {
		t.Errorf("after a word on TCP: %+v", s)
	}
	for kind, name := range map[network.NATDeviceType]string{
		network.NATDeviceTypeEndpointDependent:   daemon.NATDependent,
		network.NATDeviceTypeEndpointIndependent: daemon.NATIndependent,
	} {
		r.take(event.EvtNATDeviceTypeChanged{TransportProtocol: network.NATTransportUDP, NatDeviceType: kind})
		if s := r.status(); s.UDP != name {
			t.Errorf("%v: %+v", kind, s)
		}
	}
}
