package overlay

import (
	"context"
	"fmt"
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

// publish changes what the record says, signs a new one, and hands it to gossip. All of that is one step: of two changes at
// the same time neither is lost.
func (i *Instance) publish(change func()) error {
	state, changed, err := i.update(change)
	if changed {
		i.node.log.Info("state changed", "cell", i.service.Cell.String(), "state", state.String())
		i.node.events.add(daemon.Event{Kind: "state", Cell: i.service.Cell.String(), Peer: i.node.ID().String(), Detail: state.String()})
	}
	return err
}

// update is publish without a word about it.
func (i *Instance) update(change func()) (state record.State, changed bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.left {
		return i.state, false, nil
	}
	change()
	state = i.wanted
	if i.drained {
		state = record.Draining
	}
	self := i.gossip.Self()
	rec, err := i.sign(self.Incarnation, self.Seq+1, state)
	if err != nil {
		return state, false, err
	}
	changed, i.state = state != i.state, state
	i.gossip.Update(rec)
	return state, changed, nil
}

// SetState says that the instance is serving, unhealthy or draining. A new state reaches every member and every
// watching client within a second. While the instance is drained it says so, and the state is kept for afterwards.
func (i *Instance) SetState(s record.State) error { return i.publish(func() { i.wanted = s }) }

// Drain takes the instance out of use until it is undone: nobody new is answered, and open connections stay.
func (i *Instance) Drain(undo bool) error { return i.publish(func() { i.drained = !undo }) }

// SetGrant gives the instance another grant, in time before the one that it has ends. Everybody gets a record with it.
func (i *Instance) SetGrant(g *record.Grants) error { return i.publish(func() { i.grant = g }) }

// grantEnds is when the instance's grant does; zero in an open cell.
func (i *Instance) grantEnds() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.grant == nil {
		return time.Time{}
	}
	return i.grant.Chain[0].NotAfter
}

// grantNotes names the instances that nobody takes any more because their grants have ended.
func (n *Node) grantNotes() (notes []string) {
	for _, i := range n.instances() {
		if end := i.grantEnds(); !end.IsZero() && !time.Now().Before(end) {
			notes = append(notes, fmt.Sprintf("%s: the grant ended at %s, and nobody takes this instance: have a publisher run `cellnode grant --cell %s --peer %s`",
				i.service.Cell, end.UTC().Format(time.RFC3339), i.service.Cell, n.ID()))
		}
	}
	return notes
}

// State returns what the instance says of itself.
func (i *Instance) State() record.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Record returns the newest record: gossip makes one itself when others hold the instance for dead.
func (i *Instance) Record() *record.Signed { return i.gossip.Self() }

// keepRecord makes a new record when the old one has lived half its life, when a clock that was put back makes others refuse
// it, and when the node's addresses change or are confirmed.
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
		addrs, age := i.node.advertised(), time.Since(rec.Issued)
		if age >= -record.Leeway && age < renewAfter && slices.EqualFunc(rec.Addrs, addrs, ma.Multiaddr.Equal) &&
			rec.Confirmed == i.node.reachable.covers(addrs) {
			continue
		}
		if err := i.publish(func() {}); err != nil {
			i.node.log.Error("record not renewed", "cell", i.service.Cell.String(), "err", err)
		}
	}
}
