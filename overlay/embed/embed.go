// Package embed gives a client a DHT node of its own when no daemon runs on the machine. Import it for its effect:
//
//	import _ "github.com/cellnode/cellnode/overlay/embed"
//
// The node is started when a search first needs it, only dials, and ends with the client. Its entry points are those of
// config.toml (or CELL_BOOTSTRAP).
package embed

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/overlay"
)

func init() { client.RegisterNode(start) }

// start makes a node with a key of its own: a client is nobody's peer for long.
func start(ctx context.Context, h *home.Dir, log *slog.Logger) (client.Node, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	settings, err := settingsOf(h)
	if err != nil {
		return nil, err
	}
	n, err := overlay.New(ctx, overlay.Config{
		Key: key, Bootstrap: settings.Peers(), NoDHT: settings.DHT == home.DHTOff, Amino: settings.DHT == home.DHTAmino,
		MDNS: settings.MDNS, NoPortMapping: !settings.PortMapping, Connections: settings.Connections, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// settingsOf reads config.toml and the environment, or the environment alone where there is no home.
func settingsOf(h *home.Dir) (home.Config, error) {
	if h == nil {
		return home.ParseConfig("environment", nil, home.Environment(os.Getenv))
	}
	return h.Config()
}
