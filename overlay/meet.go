package overlay

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/dht"
	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/manifest"
)

// The pauses between two rounds of keepMeeting: short while alone, long when others are known, which is what joins
// two halves of a cell that had lost each other.
const (
	meetMin  = time.Second
	meetMax  = 30 * time.Second
	meetKept = 5 * time.Minute

	// meetGrown is how long after the network has doubled members are looked for again, and up to half of it more: by
	// then those from beyond have announced themselves anew.
	meetGrown = 20 * time.Second

	// announceAfter is how long the first announcement waits for other members to be found, at most, and meetList how long
	// it waits behind the first of them, who sends its list after its greeting. Who knows the others knows whether it is to announce: in a
	// large cell most are not, and 50 instances that start at once would else all write to every node.
	announceAfter = 2 * time.Second
	meetList      = 200 * time.Millisecond
)

// keepMeeting looks for other members: once at the start, again and again while alone, and now and then later.
func (i *Instance) keepMeeting(ctx context.Context) {
	pause := meetMin
	for {
		if len(i.gossip.Members()) > 1 {
			i.meet(ctx)
		} else {
			i.meetFirst(ctx)
		}
		i.firstMet()
		if len(i.gossip.Members()) > 1 {
			pause = meetKept
		}
		if i.rest(ctx, pause); ctx.Err() != nil {
			return
		}
		if pause = min(2*pause, meetMax); len(i.gossip.Members()) > 1 {
			pause = meetKept
		}
	}
}

// rest returns when it is time for another round: after pause, when one is asked for, or somewhat after the network has
// become twice as large, which may have brought members from beyond it.
func (i *Instance) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	before, changed := i.peers()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.look:
			return
		case <-timer.C:
			return
		case <-changed:
		}
		var now int
		if now, changed = i.peers(); now/2 >= before {
			before = math.MaxInt // the pause is shortened once
			timer.Reset(min(pause, meetGrown+rand.N(meetGrown/2)))
		}
	}
}

// peers returns how many nodes the DHT knows, and a channel that is closed when that changes, or nil without a DHT.
func (i *Instance) peers() (int, <-chan struct{}) {
	if i.node.dht == nil {
		return 0, nil
	}
	n, changed := i.node.dht.Peers()
	return max(n, 1), changed
}

// Meet names instances that may be members, as a seed list does; they are tried at once and, while the instance is
// alone, again and again. The DHT is told of it through them, too.
func (i *Instance) Meet(seeds []manifest.Seed) {
	i.mu.Lock()
	i.seeds = slices.Clone(seeds)
	i.mu.Unlock()
	i.lookAround()
}

// lookAround asks keepMeeting for a round now.
func (i *Instance) lookAround() {
	select {
	case i.look <- struct{}{}:
	default:
	}
}

// meetFirst looks for other members until there is one.
func (i *Instance) meetFirst(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i.wg.Go(func() {
		i.awaitList(ctx)
		cancel()
	})
	i.meet(ctx)
}

// awaitList returns when another member is known and has had the time to send its list, or when ctx ends.
func (i *Instance) awaitList(ctx context.Context) {
	known, found := context.WithCancel(ctx)
	defer found()
	err := i.gossip.Watch(known, func(events []gossip.Event) {
		if slices.ContainsFunc(events, func(e gossip.Event) bool { return e.Kind == gossip.Joined && !e.Member.Self }) {
			found()
		}
	})
	if err != nil && known.Err() == nil {
		return // the gossip has ended
	}
	select {
	case <-time.After(meetList):
	case <-ctx.Done():
	}
}

func (i *Instance) meet(ctx context.Context) {
	hints := i.seedInfos()
	if i.node.lan != nil {
		hints = append(hints, i.node.lan.peers()...)
	}
	i.gossip.Join(hints)
	if i.node.dht == nil {
		return
	}
	err := i.node.dht.FindVia(ctx, i.id, i.seedInfos(), func(p peer.AddrInfo) {
		if p.ID != i.node.ID() {
			i.gossip.Join([]peer.AddrInfo{p})
		}
	})
	if err != nil && ctx.Err() == nil {
		i.node.log.Debug("no members from the DHT", "cell", i.service.Cell.String(), "err", err)
	}
}

// redial proves that a member can be reached by a connection of its own, from the socket up.
func (n *Node) redial(cell cid.Cid) func(context.Context, peer.AddrInfo) error {
	return func(ctx context.Context, p peer.AddrInfo) error {
		_, err := n.dialer.Probe(ctx, link.Target{Peer: p.ID, Addrs: p.Addrs, Trusted: true}, link.Hello{Op: link.Probing, Cell: cell})
		return err
	}
}

func (i *Instance) seedInfos() []peer.AddrInfo {
	i.mu.Lock()
	defer i.mu.Unlock()
	return seedInfos(i.seeds, i.node.ID())
}

// seedInfos returns the seeds that libp2p can dial, without ourselves.
func seedInfos(seeds []manifest.Seed, self peer.ID) []peer.AddrInfo {
	var list []peer.AddrInfo
	for _, s := range seeds {
		if info := quicInfo(s.Peer, s.Addrs); s.Peer != self && len(info.Addrs) > 0 {
			list = append(list, info)
		}
	}
	return list
}

func (i *Instance) seedPeers() []peer.ID {
	var list []peer.ID
	for _, p := range i.seedInfos() {
		list = append(list, p.ID)
	}
	return list
}

// announces reports whether this instance is one of those that announce the cell: all of them in a small cell, a
// turning few in a large one. The first call waits until the others are known.
func (i *Instance) announces() bool {
	select {
	case <-i.met:
	case <-time.After(announceAfter):
	}
	ids := i.members()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.announcing = dht.Announces(dht.Epoch(time.Now()), i.id, i.node.ID(), ids, i.announcing)
	return i.announcing
}
