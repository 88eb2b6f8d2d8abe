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

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/overlay/settings"
)

func init() { client.RegisterNode(start) }

// start makes a node with a key of its own: a client is nobody's peer for long.
func start(ctx context.Context, h *home.Dir, log *slog.Logger) (client.Node, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	n, err := settings.Start(ctx, settings.Config{Key: key, Home: h, DialOnly: true, Log: log})
	if err != nil {
		return nil, err
	}
	return n, nil
}
