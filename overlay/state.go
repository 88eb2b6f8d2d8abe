package overlay

import (
	"context"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/record"
)

// renewAfter is when a record is made anew: half of its validity.
const renewAfter = record.Validity / 2

// sign makes a record of the instance as it is now, valid for as long as its grant at most. The lock is held, or nobody else
// knows i yet.
func (i *Instance) sign(incarnation, seq uint64, state record.State) (*record.Signed, error) {
	now, addrs := time.Now(), i.node.advertised()
	expires, grant := now.Add(record.Validity), []byte(nil)
	if i.grant != nil {
		grant = i.grant.Bytes
		if end := i.grant.Chain[0].NotAfter; end.Before(expires) {
			expires = end
		}
	}
	return record.Sign(i.node.cfg.Key, record.Instance{
		Cell: i.id, Incarnation: incarnation, Seq: seq, State: state, Addrs: addrs, Confirmed: i.node.reachable.covers(addrs),
		Issued: now, Expires: expires, Commit: i.service.Commit, Fingerprint: i.service.Fingerprint, Grant: grant,
	})
}

// publish signs a record of the given state and hands it to gossip.
func (i *Instance) publish(state record.State) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return nil
	}
	self := i.gossip.Self()
	rec, err := i.sign(self.Incarnation, self.Seq+1, state)
	if err != nil {
		return err
	}
	i.state = state
	i.gossip.Update(rec)
	return nil
}

// SetState says that the instance is serving, unhealthy or draining. A new state reaches every member and every
// watching client within a second. While the instance is drained it says so, and the state is kept for afterwards.
func (i *Instance) SetState(s record.State) error {
	i.mu.Lock()
	i.wanted = s
	drained := i.drained
	i.mu.Unlock()
	if drained {
		return nil
	}
	return i.change(s)
}

// Drain takes the instance out of use until it is undone: nobody new is answered, and open connections stay.
func (i *Instance) Drain(undo bool) error {
	i.mu.Lock()
	i.drained = !undo
	state := i.wanted
	i.mu.Unlock()
	if !undo {
		state = record.Draining
	}
	return i.change(state)
}

func (i *Instance) change(s record.State) error {
	if s == i.State() {
		return nil
	}
	i.node.log.Info("state changed", "cell", i.service.Cell.String(), "state", s.String())
	i.node.events.add(daemon.Event{Kind: "state", Cell: i.service.Cell.String(), Peer: i.node.ID().String(), Detail: s.String()})
	return i.publish(s)
}

// SetGrant gives the instance another grant, in time before the one that it has ends. Everybody gets a record with it.
func (i *Instance) SetGrant(g *record.Grants) error {
	i.mu.Lock()
	i.grant = g
	i.mu.Unlock()
	return i.publish(i.State())
}

// State returns what the instance says of itself.
func (i *Instance) State() record.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Record returns the newest record: gossip makes one itself when others hold the instance for dead.
func (i *Instance) Record() *record.Signed { return i.gossip.Self() }

// keepRecord makes a new record when the old one has lived half its life, and when the node's addresses change or are
// confirmed.
func (i *Instance) keepRecord(ctx context.Context) {
	const look = 2 * time.Second // nothing tells of most new addresses at once: libp2p looks once a minute, and not at TCP's
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-i.readdressed:
		}
		rec := i.Record()
		addrs := i.node.advertised()
		if time.Since(rec.Issued) < renewAfter && slices.EqualFunc(rec.Addrs, addrs, ma.Multiaddr.Equal) &&
			rec.Confirmed == i.node.reachable.covers(addrs) {
			continue
		}
		if err := i.publish(i.State()); err != nil {
			i.node.log.Error("record not renewed", "cell", i.service.Cell.String(), "err", err)
		}
	}
}
