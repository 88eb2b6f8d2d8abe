package lint

import (
	"strings"
	"testing"
)

func TestAHeavyClientIsCaught(t *testing.T) {
	const listed = `
		{"ImportPath": "fmt", "Standard": true}
		{"ImportPath": "github.com/libp2p/go-libp2p/core/peer", "Module": {"Path": "github.com/libp2p/go-libp2p"}}
		{"ImportPath": "github.com/quic-go/quic-go", "Module": {"Path": "github.com/quic-go/quic-go"}}
		{"ImportPath": "github.com/cellnode/cellnode/client", "Module": {"Path": "github.com/cellnode/cellnode"}}`
	for _, c := range []struct {
		name    string
		extra   string
		modules int
		want    []string
	}{
		{"thin", "", 2, nil},
		{"one module too many", "", 1, []string{"draws on 2 modules, the budget is 1"}},
		{"the host", `{"ImportPath": "github.com/libp2p/go-libp2p"}`, 2, []string{"depends on github.com/libp2p/go-libp2p."}},
		{"the swarm", `{"ImportPath": "github.com/libp2p/go-libp2p/p2p/net/swarm"}`, 2, []string{"p2p/net/swarm"}},
		{"the DHT", `{"ImportPath": "github.com/libp2p/go-libp2p-kad-dht"}`, 2, []string{"go-libp2p-kad-dht"}},
		{"our own gossip", `{"ImportPath": "github.com/cellnode/cellnode/gossip/gossippb"}`, 2, []string{"gossippb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			deps, err := ReadPackages(strings.NewReader(listed + c.extra))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, Weight{Of: "client", Modules: c.modules, Never: hostAndDHT}.Check(deps), c.want)
		})
	}
	if _, err := ReadPackages(strings.NewReader(`{"ImportPath": `)); err == nil {
		t.Error("half a line of go list was taken")
	}
}
