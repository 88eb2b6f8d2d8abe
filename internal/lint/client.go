package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Package is what the go command says of one package: `go list -deps -json=ImportPath,Standard,Module`.
type Package struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
}

// Weight is what a package may drag into the programs that import it.
type Weight struct {
	Of      string   // the package, from the root of the module
	Modules int      // how many other modules its dependencies may come from
	Never   []string // packages, or with /... all under them, that must not be among them
	Why     string
}

// Weights holds what is promised about size. Raise a number only with a reason in the commit.
var Weights = []Weight{
	{
		Of: "manifest", Modules: 26, Never: slices.Concat(hostAndDHT, []string{"net/http", "os/exec"}),
		Why: "names and checks files: a linter or an editor may use it",
	},
	{
		Of: "client", Modules: 32, Never: hostAndDHT,
		Why: "a thin client dials cell/1 itself; what needs a host or the DHT goes through Node, which overlay/embed brings",
	},
}

// hostAndDHT is the heavy half of libp2p: a host with its swarm, and Kademlia.
var hostAndDHT = []string{
	"github.com/libp2p/go-libp2p",
	"github.com/libp2p/go-libp2p/config",
	"github.com/libp2p/go-libp2p/p2p/host/...",
	"github.com/libp2p/go-libp2p/p2p/net/swarm/...", // net/upgrader and net/pnet come with its TLS
	"github.com/libp2p/go-libp2p/p2p/net/connmgr/...",
	"github.com/libp2p/go-libp2p/p2p/protocol/...",
	"github.com/libp2p/go-libp2p/p2p/transport/...",
	"github.com/libp2p/go-libp2p/p2p/muxer/...",
	"github.com/libp2p/go-libp2p-kad-dht/...",
	"github.com/libp2p/go-libp2p-kbucket/...",
	Module + "/dht/...",
	Module + "/gossip/...",
	Module + "/overlay/...",
}

// ReadPackages reads the output of go list.
func ReadPackages(r io.Reader) ([]Package, error) {
	var list []Package
	for dec := json.NewDecoder(r); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("lint: go list: %w", err)
		}
		list = append(list, p)
	}
}

// Check compares w with the packages that w.Of depends on.
func (w Weight) Check(deps []Package) []Finding {
	var found []Finding
	var modules []string
	for _, p := range deps {
		for _, never := range w.Never {
			if match(never, p.ImportPath) {
				found = append(found, Finding{"weight", w.Of, 0, fmt.Sprintf("depends on %s. %s", p.ImportPath, w.Why)})
			}
		}
		if p.Module != nil && p.Module.Path != Module && !slices.Contains(modules, p.Module.Path) {
			modules = append(modules, p.Module.Path)
		}
	}
	if len(modules) > w.Modules {
		slices.Sort(modules)
		found = append(found, Finding{"weight", w.Of, 0, fmt.Sprintf("draws on %d modules, the budget is %d: %s", len(modules), w.Modules, strings.Join(modules, " "))})
	}
	return found
}

func match(pattern, pkg string) bool {
	dir, all := strings.CutSuffix(pattern, "/...")
	return path.Clean(pkg) == dir || all && strings.HasPrefix(pkg, dir+"/")
}
