package client

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/record"
)

// A Pong is what one instance answered to a ping, or why it did not.
type Pong struct {
	Peer  peer.ID
	RTT   time.Duration // the least of a few exchanges on one connection
	Path  string        // tcp, quic, libp2p or local
	State record.State
	Err   error
}

// pingTimeout ends the ping of one instance.
const pingTimeout = 3 * time.Second

// Ping asks every instance of the cell that is live so far, at once, and returns the answers in the order of their
// peer IDs.
func (c *Client) Ping(ctx context.Context, name string) ([]Pong, error) {
	s, err := c.cell(ctx, name)
	if err != nil {
		return nil, err
	}
	live := s.tracker.Snapshot().Instances
	pongs := make([]Pong, len(live))
	var wg sync.WaitGroup
	for n, i := range live {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, pingTimeout)
			defer cancel()
			pongs[n] = Pong{Peer: i.Peer}
			pongs[n].RTT, pongs[n].Path, pongs[n].State, pongs[n].Err = s.tracker.Ping(ctx, i)
		})
	}
	wg.Wait()
	slices.SortFunc(pongs, func(a, b Pong) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return pongs, nil
}
