package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/cellnode/cellnode/manifest"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of a configuration.
const (
	maxConfigFile = 1 << 20 // bytes
	maxBootstrap  = 256     // entries
	maxListen     = 16
	maxAdvertise  = 4 // as many as an instance record holds

	minConnections     = 16 // gossip and DHT neighbours of a small network
	maxConnections     = 1 << 20
	defaultConnections = 192

	maxSpawnIdle     = 30 * 24 * 60 * 60 // seconds
	defaultSpawnIdle = 10 * 60
)

// DHT says which rendezvous network a node is part of.
type DHT string

// The values of dht in config.toml: true, false, "amino".
const (
	DHTOn    DHT = "true"  // cellnode's own, protocol prefix /cell
	DHTOff   DHT = "false" // none: seeds, cache, lists and mDNS alone
	DHTAmino DHT = "amino" // the public IPFS DHT
)

// Config is the settings of this machine's nodes. docs/configuration.md is its reference; [Settings] lists the keys.
type Config struct {
	Bootstrap   []string // entry points: multiaddrs that end in /p2p/PEER, and cells whose seed lists serve as such
	Listen      []string // multiaddrs to bind, never empty; default DefaultListen
	Advertise   []string // multiaddrs to announce besides those found out, at most 4; for port forwardings
	DHT         DHT      // default DHTOn
	MDNS        bool     // find and be found on the local network; default true
	PortMapping bool     // ask the router for a port (UPnP, NAT-PMP); default true
	Connections int      // libp2p connections to grow to before idle ones are closed; default 192, at least 16
	SpawnIdle   int      // seconds that a service which the node has started stays when nobody is connected; 0: for good; default 600
}

func defaults() Config {
	return Config{Listen: DefaultListen(), DHT: DHTOn, MDNS: true, PortMapping: true, Connections: defaultConnections, SpawnIdle: defaultSpawnIdle}
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

// Config reads config.toml, which may be absent, the environment, and further layers above that.
func (d *Dir) Config(above ...Layer) (Config, error) {
	path := d.ConfigPath()
	data, err := ReadConfig(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Config{}, err
	}
	return ParseConfig(path, data, append([]Layer{Environment(os.Getenv)}, above...)...)
}

// ConfigPath is where the settings of this directory's nodes stand.
func (d *Dir) ConfigPath() string { return d.Path("config.toml") }

// ReadConfig returns the text of a settings file, capped just above what ParseConfig takes.
func ReadConfig(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	return data, nil
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
