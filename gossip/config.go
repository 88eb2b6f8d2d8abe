package gossip

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// Config is what New needs.
type Config struct {
	// Host carries the streams; it is not closed. Several cells may share one host.
	Host host.Host
	// Key signs records and votes. Nil takes the host's, which must be Ed25519.
	Key crypto.PrivKey
	// Cell is the cell whose instances gossip. It must be the one in Record.
	Cell cid.Cid
	// Record is the own first record, signed with Key.
	Record *record.Signed
	// Profile is LAN() or WAN(), or one made from them. Zero is WAN().
	Profile Profile
	// Health says whether the service itself is well: Serving or Unhealthy. It is asked several times a second and must
	// not block. Nil leaves the state to the own record.
	Health func() record.State
	// Authority says who else may be a member. It is given the trust documents that other members bring, and what it takes
	// elsewhere is passed on to them. Nil: the cell is open, and anybody may.
	Authority *record.Authority
	// Redial makes a fresh transport connection to a peer, beside any that exists, and returns nil if the peer
	// answered. Nil dials with the host's own transports and asks over the new connection.
	Redial func(context.Context, peer.AddrInfo) error
	// Log is for changes of state; nil is silent.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Key == nil && c.Host != nil {
		c.Key = c.Host.Peerstore().PrivKey(c.Host.ID())
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Host == nil:
		return errors.New("gossip: Config.Host is nil")
	case c.Key == nil:
		return errors.New("gossip: Config.Key is nil and the host keeps none")
	case c.Record == nil:
		return errors.New("gossip: Config.Record is nil")
	case !c.Record.Cell.Equals(c.Cell):
		return errors.New("gossip: Config.Record is of another cell than Config.Cell")
	case c.Record.Peer != c.Host.ID():
		return errors.New("gossip: Config.Record is of another peer than Config.Host")
	}
	return nil
}
