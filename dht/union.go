package dht

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	resolveMax     = 32 // peers without an address that one search looks up
	resolveTimeout = 5 * time.Second
)

// union joins the answers of many peers: each provider is reported once, as soon as an answer gives it an address.
type union struct {
	mu    sync.Mutex
	found func(peer.AddrInfo)
	seen  map[peer.ID]bool // true: reported
}

func newUnion(self peer.ID, found func(peer.AddrInfo)) *union {
	return &union{found: found, seen: map[peer.ID]bool{self: true}}
}

var tidy = addressFilter(false)

// add takes one entry of an answer; share is what the answer may still add.
func (u *union) add(i peer.AddrInfo, share *int) {
	if i.ID.Validate() != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	reported, known := u.seen[i.ID]
	if reported || *share <= 0 {
		return
	}
	if i.Addrs = tidy(i.Addrs); len(i.Addrs) == 0 {
		if !known {
			*share--
			u.seen[i.ID] = false
		}
		return
	}
	*share--
	u.seen[i.ID] = true
	u.found(i)
}

// len returns the number of peers reported.
func (u *union) len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := -1 // self
	for _, reported := range u.seen {
		if reported {
			n++
		}
	}
	return n
}

// bare returns peers that nobody knew an address of, at most resolveMax.
func (u *union) bare() []peer.ID {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []peer.ID
	for p, reported := range u.seen {
		if !reported && len(out) < resolveMax {
			out = append(out, p)
		}
	}
	return out
}

// resolve finds addresses for the peers that came without: in the peerstore, else by a look-up of each.
func (s *search) resolve(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range s.union.bare() {
		wg.Go(func() {
			i := s.host.Peerstore().PeerInfo(p)
			if len(i.Addrs) == 0 {
				limited, cancel := context.WithTimeout(ctx, resolveTimeout)
				defer cancel()
				i, _ = s.kad.FindPeer(limited, p)
			}
			share := 1
			s.union.add(i, &share)
		})
	}
	wg.Wait()
}
