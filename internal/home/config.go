package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/cellnode/cellnode/manifest"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Limits of a configuration.
const (
	maxConfigFile = 1 << 20 // bytes
	maxBootstrap  = 256     // entries
	maxListen     = 16
	maxAdvertise  = 4 // as many as an instance record holds
)

// DHT says which rendezvous network a node is part of.
type DHT string

// The values of dht in config.toml: true, false, "amino".
const (
	DHTOn    DHT = "true"  // cellnode's own, protocol prefix /cell
	DHTOff   DHT = "false" // none: seeds, cache, lists and mDNS alone
	DHTAmino DHT = "amino" // the public IPFS DHT
)

// Config is the settings of this machine's nodes: config.toml, where CELL_BOOTSTRAP, CELL_LISTEN, CELL_ADVERTISE (comma
// separated), CELL_DHT and CELL_MDNS stand in for the key of that name. An empty variable counts as unset. The keys of
// config.toml are flat and their order means nothing:
//
//	bootstrap = ["/ip4/192.0.2.7/udp/40000/quic-v1/p2p/12D3…", "git.example.org/net/entry@v1"]
//	listen    = ["/ip4/0.0.0.0/udp/40000/quic-v1", "/ip4/0.0.0.0/tcp/40000/tls"]
//	advertise = ["/ip4/203.0.113.9/udp/40000/quic-v1"]
//	dht       = true     # false, or "amino"
//	mdns      = true
type Config struct {
	Bootstrap []string // entry points: multiaddrs that end in /p2p/PEER, and cells whose seed lists serve as such
	Listen    []string // multiaddrs to bind, never empty; default DefaultListen
	Advertise []string // multiaddrs to announce besides those found out, at most 4; for port forwardings
	DHT       DHT      // default DHTOn
	MDNS      bool     // find and be found on the local network; default true
}

// DefaultListen is UDP 40000 for everything and TCP 40000 for the direct path, on every address of the machine.
func DefaultListen() []string {
	return []string{
		"/ip4/0.0.0.0/udp/40000/quic-v1",
		"/ip4/0.0.0.0/tcp/40000/tls",
		"/ip6/::/udp/40000/quic-v1",
		"/ip6/::/tcp/40000/tls",
	}
}

// Config reads config.toml, which may be absent, and the environment.
func (d *Dir) Config() (Config, error) {
	path := d.Path("config.toml")
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ParseConfig(path, nil, os.Getenv)
	}
	if err != nil {
		return Config{}, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("home: %w", err)
	}
	return ParseConfig(path, data, os.Getenv)
}

// ParseConfig decodes and checks the text of a config.toml, which path names in errors, and the environment that getenv
// gives (nil: none). Unknown keys are errors that name the nearest known one.
func ParseConfig(path string, data []byte, getenv func(string) string) (Config, error) {
	c := Config{Listen: DefaultListen(), DHT: DHTOn, MDNS: true}
	if err := c.readFile(path, data); err != nil {
		return Config{}, err
	}
	if getenv != nil {
		if err := c.readEnvironment(getenv); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// Peers returns the entry points that are addresses, one AddrInfo a peer, in the order of their first mention.
func (c Config) Peers() []peer.AddrInfo {
	var peers []peer.AddrInfo
	for _, entry := range c.Bootstrap {
		info, err := peer.AddrInfoFromString(entry)
		if err != nil {
			continue // a cell
		}
		at := slices.IndexFunc(peers, func(p peer.AddrInfo) bool { return p.ID == info.ID })
		if at < 0 {
			peers = append(peers, *info)
			continue
		}
		peers[at].Addrs = append(peers[at].Addrs, info.Addrs...)
	}
	return peers
}

// Cells returns the entry points that are cells.
func (c Config) Cells() []manifest.Cell {
	var cells []manifest.Cell
	for _, entry := range c.Bootstrap {
		if isAddress(entry) {
			continue
		}
		if cell, err := manifest.ParseCell(entry); err == nil {
			cells = append(cells, cell)
		}
	}
	return cells
}

func isAddress(entry string) bool { return entry != "" && entry[0] == '/' }

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
