package overlay

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/daemon"
)

// keptEvents is how many events a node remembers for whoever asks later.
const keptEvents = 1000

// eventLog remembers the last events and wakes whoever follows them. The zero value is empty and ready.
type eventLog struct {
	mu    sync.Mutex
	list  []daemon.Event
	next  uint64        // Seq of the next event, less one
	news  chan struct{} // closed at the next event
	tally map[tally]uint64
}

// tally is what events are counted by.
type tally struct{ cell, kind string }

func (l *eventLog) add(e daemon.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	e.Seq, e.At = l.next, time.Now().UTC().Truncate(time.Millisecond)
	if len(l.list) == keptEvents {
		l.list = append(l.list[:0], l.list[1:]...)
	}
	l.list = append(l.list, e)
	if l.tally == nil {
		l.tally = make(map[tally]uint64)
	}
	l.tally[tally{e.Cell, e.Kind}]++
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// since returns the events from a number on, and a channel that is closed when there are more.
func (l *eventLog) since(from uint64) ([]daemon.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.news == nil {
		l.news = make(chan struct{})
	}
	first := 0
	for first < len(l.list) && l.list[first].Seq < from {
		first++
	}
	return append([]daemon.Event(nil), l.list[first:]...), l.news
}

func (l *eventLog) follow(ctx context.Context, from uint64, on bool, send func(daemon.Event) error) error {
	for {
		list, more := l.since(from)
		for _, e := range list {
			if err := send(e); err != nil {
				return err
			}
			from = e.Seq + 1
		}
		if !on {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// logEvents logs what happens to the members of the instance's cell, until ctx ends.
func (i *Instance) logEvents(ctx context.Context) {
	died := map[peer.ID]uint64{} // the incarnation that others called dead
	for ctx.Err() == nil {       // a watch that fell behind begins anew
		err := i.gossip.Watch(ctx, func(events []gossip.Event) {
			for _, e := range events {
				i.logEvent(e, died)
			}
		})
		if err != nil && ctx.Err() == nil {
			i.node.log.Debug("watching the members anew", "cell", i.service.Cell.String(), "err", err)
		}
	}
}

// twin is where another process with the instance's key was reached, when its record was seen last.
type twin struct {
	addrs string
	seen  time.Time
}

// twinNoted is for how long a twin stands in a node's status.
const twinNoted = 5 * time.Minute

// twinNotes names the twins of a node's instances.
func (n *Node) twinNotes() (notes []string) {
	for _, i := range n.instances() {
		if t := i.twin.Load(); t != nil && time.Since(t.seen) < twinNoted {
			notes = append(notes, fmt.Sprintf("another process serves %s with the same key, at %s: stop one, or give it a key of its own (another CELL_HOME, or CELL_KEY)", i.service.Cell, t.addrs))
		}
	}
	return notes
}

// kindFalse is the kind of an event that is counted and not shown: a member that was called dead has come back as the
// same incarnation.
const kindFalse = "false death"

func (i *Instance) logEvent(e gossip.Event, died map[peer.ID]uint64) {
	rec := e.Member.Record
	if rec == nil || e.Member.Self && e.Kind == gossip.Updated {
		return
	}
	event := daemon.Event{Kind: e.Kind.String(), Cell: i.service.Cell.String(), Peer: rec.Peer.String(), Detail: rec.State.String()}
	switch e.Kind {
	case gossip.Dead:
		if len(died) == keptEvents {
			clear(died)
		}
		died[rec.Peer] = rec.Incarnation
	case gossip.Joined:
		if incarnation, back := died[rec.Peer]; back && incarnation == rec.Incarnation {
			event.Detail += ", had been called dead"
			i.node.events.count(event.Cell, kindFalse)
		}
		delete(died, rec.Peer)
	case gossip.Twin:
		event.Detail = strings.Join(addrTexts(rec.Addrs), " ")
		i.twin.Store(&twin{event.Detail, time.Now()})
		i.node.log.Warn("another process serves this cell with the same key, and clients reach either: stop one, or give it a key of its own (another CELL_HOME, or CELL_KEY)",
			"cell", event.Cell, "peer", event.Peer, "addrs", event.Detail)
	}
	i.node.events.add(event)
}

// count counts what is no event of its own.
func (l *eventLog) count(cell, kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tally == nil {
		l.tally = make(map[tally]uint64)
	}
	l.tally[tally{cell, kind}]++
}

// counts returns how many events there have been of each kind.
func (l *eventLog) counts() map[tally]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[tally]uint64, len(l.tally))
	for k, n := range l.tally {
		out[k] = n
	}
	return out
}
