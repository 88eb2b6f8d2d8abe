package overlay

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// API returns the node as the HTTP API shows it.
func (n *Node) API() daemon.Node { return (*api)(n) }

type api Node

func (a *api) Status() daemon.Status { return (*Node)(a).Status() }

// Find implements daemon.Node.
func (a *api) Find(ctx context.Context, q daemon.Query) (daemon.Reply, error) {
	t, cell, done, err := a.track(q)
	if err != nil {
		return daemon.Reply{}, err
	}
	defer done()
	s, _ := t.Settle(ctx) // what is known when the time is over is the answer
	return daemon.NewReply(cell, s), nil
}

// Watch implements daemon.Node.
func (a *api) Watch(ctx context.Context, q daemon.Query, send func(daemon.Reply) error) error {
	t, cell, done, err := a.track(q)
	if err != nil {
		return err
	}
	defer done()
	s := t.Snapshot()
	for {
		if err := send(daemon.NewReply(cell, s)); err != nil {
			return err
		}
		if s, err = t.Next(ctx, s); err != nil {
			return err
		}
	}
}

func (a *api) track(q daemon.Query) (*find.Tracker, manifest.Cell, func(), error) {
	bad := func(err error) (*find.Tracker, manifest.Cell, func(), error) {
		return nil, manifest.Cell{}, nil, &daemon.Error{Message: err.Error(), Code: 2}
	}
	cell, err := manifest.NewCell(q.Repository, q.Tag)
	if err != nil {
		return bad(err)
	}
	if err := CheckWays(q.Only); err != nil {
		return bad(err)
	}
	req := find.Request{Cell: cell, Commit: q.Commit, Fingerprint: q.Fingerprint, Publishers: q.Trust().Text()}
	if _, err := req.Authority(); err != nil {
		return bad(err)
	}
	t, done, err := (*Node)(a).Track(req, daemon.ParseSeeds(q.Seeds), q.Only)
	if err == nil && q.Document != "" {
		if err := takeTrust(t, q.Document); err != nil {
			a.log.Debug("a trust document was not taken", "cell", cell.String(), "err", err)
		}
	}
	return t, cell, done, err
}

// takeTrust takes the document that an asker knows.
func takeTrust(t *find.Tracker, text string) error {
	chain, err := record.ParseTrust(text)
	if err != nil {
		return err
	}
	return t.TakeTrust(chain.Bytes())
}

// CheckWays refuses names that are no way of finding.
func CheckWays(names []string) error { return find.CheckWays(names) }

// Status returns what the node says of itself.
func (n *Node) Status() daemon.Status {
	s := daemon.Status{
		Peer: n.ID().String(), Addrs: []string{}, Listen: []string{}, Started: n.started.UTC(), Version: Version(), PID: os.Getpid(),
		DHT: daemon.DHTStatus{State: "off"}, NAT: n.reachable.status(), Instances: []daemon.CellStatus{}, Notes: n.Notes(),
	}
	for _, a := range n.advertised() {
		s.Addrs = append(s.Addrs, a.String())
	}
	for _, a := range n.Listening() {
		s.Listen = append(s.Listen, a.String())
	}
	if n.dht != nil {
		s.DHT = daemon.DHTStatus{State: "alone", Peers: n.dht.Size()}
		if s.DHT.Peers > 0 {
			s.DHT.State = "joined"
		}
	}
	for _, i := range n.instances() {
		s.Instances = append(s.Instances, i.status())
	}
	slices.SortFunc(s.Instances, func(a, b daemon.CellStatus) int { return strings.Compare(a.Cell, b.Cell) })
	return s
}

func (i *Instance) status() daemon.CellStatus {
	rec := i.Record()
	s := daemon.CellStatus{
		Cell: i.service.Cell.String(), CID: i.id.String(), State: i.State().String(), Commit: rec.Commit,
		Fingerprint: rec.Fingerprint, Incarnation: rec.Incarnation, Members: len(i.gossip.Members()),
		Upstream: i.service.Upstream, GrantEnds: i.grantEnds(),
	}
	s.Ready = s.GrantEnds.IsZero() || time.Now().Before(s.GrantEnds)
	if i.announcer == nil {
		return s
	}
	select {
	case <-i.announcer.Ready():
	default:
		s.Ready = false
	}
	a := i.announcer.Status()
	s.Announced = &daemon.Announced{
		Replicas: a.Last.Replicas, ReadBack: a.Last.ReadBack, Alone: a.Alone, ByOthers: s.Ready && !a.Announcing,
		Last: a.Last.At, Next: a.Due,
	}
	if a.Err != nil {
		s.Announced.Error = a.Err.Error()
	}
	return s
}
