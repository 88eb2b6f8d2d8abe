package dht

import (
	"fmt"
	"slices"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

func TestAddressesThatReachFurthestComeFirst(t *testing.T) {
	in := []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1"),
		ma.StringCast("/ip4/10.0.0.1/udp/1/quic-v1"),
		ma.StringCast("/ip4/0.0.0.0/udp/1/quic-v1"),
		nil,
		ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1"),
		ma.StringCast("/ip6/::1/udp/1/quic-v1"),
		ma.StringCast("/dns4/cell.example.com/udp/1/quic-v1"),
		ma.StringCast("/ip6/fd00::1/udp/1/quic-v1"),
		ma.StringCast("/ip6/fe80::1/udp/1/quic-v1"),
		ma.StringCast("/ip4/224.0.0.251/udp/5353/quic-v1"),
		ma.StringCast("/ip4/169.254.169.254/udp/80/quic-v1"),
	}
	for public, want := range map[bool][]int{false: {4, 6, 1, 7}, true: {4, 6}} {
		got := addressFilter(public)(in)
		var order []int
		for _, a := range got {
			order = append(order, slices.IndexFunc(in, func(b ma.Multiaddr) bool { return b != nil && b.Equal(a) }))
		}
		if !slices.Equal(order, want) {
			t.Errorf("public %v: %v", public, got)
		}
	}
}

func TestAtMostEightAddressesAreKept(t *testing.T) {
	var in []ma.Multiaddr
	for i := range 300 {
		in = append(in, ma.StringCast(fmt.Sprintf("/ip4/8.8.8.8/udp/%d/quic-v1", i+1)))
	}
	if got := addressFilter(false)(in); len(got) != maxAddrs || len(in) != 300 {
		t.Errorf("%d kept", len(got))
	}
}

func TestLoopbackIsKeptWhereThereIsNothingElse(t *testing.T) {
	in := []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1"), ma.StringCast("/ip6/::1/udp/1/quic-v1")}
	if got := addressFilter(false)(in); len(got) != 2 {
		t.Errorf("kept %v", got)
	}
	if got := addressFilter(true)(in); len(got) != 0 {
		t.Errorf("kept %v on a public network", got)
	}
}
