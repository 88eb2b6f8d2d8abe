package home

import (
	"errors"
	"fmt"
	"net"

	"github.com/cellnode/cellnode/manifest"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// checkBootstrap takes /…/p2p/PEER and REPOSITORY@TAG.
func checkBootstrap(entry string) error {
	if !isAddress(entry) {
		_, err := manifest.ParseCell(entry)
		return err
	}
	info, err := peer.AddrInfoFromString(entry)
	if err != nil || len(info.Addrs) == 0 {
		return fmt.Errorf("want an address that ends in /p2p/PEER, as /ip4/192.0.2.7/udp/40000/quic-v1/p2p/12D3…")
	}
	return nil
}

func checkListen(entry string) error {
	_, err := parseAddress(entry)
	return err
}

func checkAdvertise(entry string) error {
	addr, err := parseAddress(entry)
	if err != nil {
		return err
	}
	if addr.ip.IsUnspecified() || addr.port == "0" {
		return fmt.Errorf("want an address and port that others can dial")
	}
	return nil
}

// errAddress describes the two shapes that a node listens on.
var errAddress = errors.New("want /ip4/ADDRESS/udp/PORT/quic-v1 or /ip4/ADDRESS/tcp/PORT/tls, or the same with /ip6")

type address struct {
	ip   net.IP
	port string
}

func parseAddress(entry string) (address, error) {
	addr, err := ma.NewMultiaddr(entry)
	if err != nil || len(addr) != 3 {
		return address{}, errAddress
	}
	code := [3]int{addr[0].Protocol().Code, addr[1].Protocol().Code, addr[2].Protocol().Code}
	isIP := code[0] == ma.P_IP4 || code[0] == ma.P_IP6
	isUDP := code[1] == ma.P_UDP && code[2] == ma.P_QUIC_V1
	isTCP := code[1] == ma.P_TCP && code[2] == ma.P_TLS
	if !isIP || !(isUDP || isTCP) {
		return address{}, errAddress
	}
	return address{ip: net.IP(addr[0].RawValue()), port: addr[1].Value()}, nil
}
