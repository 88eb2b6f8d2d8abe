package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
)

// Connect implements daemon.Node.
func (a *api) Connect(ctx context.Context, q daemon.Query) (net.Conn, daemon.Instance, error) {
	t, _, done, err := a.track(q)
	if err != nil {
		return nil, daemon.Instance{}, err
	}
	defer done()
	c, i, err := t.Dial(ctx)
	var none *find.NoneError
	if errors.As(err, &none) {
		return nil, daemon.Instance{}, &daemon.Error{Message: err.Error(), Code: 1}
	}
	return c, daemon.Instance{Peer: i.Peer.String(), Path: i.Path}, err
}

// Stream implements daemon.Node.
func (a *api) Stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	return (*Node)(a).Stream(ctx, id, circuit)
}

// Peers implements daemon.Node.
func (a *api) Peers() daemon.Peers {
	n := (*Node)(a)
	p := daemon.Peers{Peer: n.ID().String(), Cells: []daemon.CellPeers{}, DHT: []daemon.DHTPeer{}}
	for _, i := range n.instances() {
		p.Cells = append(p.Cells, i.memberList())
	}
	slices.SortFunc(p.Cells, func(a, b daemon.CellPeers) int { return strings.Compare(a.Cell, b.Cell) })
	if n.dht != nil {
		for _, info := range n.dht.Neighbours() {
			p.DHT = append(p.DHT, daemon.DHTPeer{Peer: info.ID.String(), Addrs: addrTexts(info.Addrs)})
		}
	}
	return p
}

func (i *Instance) memberList() daemon.CellPeers {
	c := daemon.CellPeers{Cell: i.service.Cell.String(), Members: []daemon.Member{}}
	for _, m := range i.gossip.Members() {
		c.Members = append(c.Members, daemon.Member{
			Peer: m.Record.Peer.String(), State: m.Record.State.String(), Status: m.Status.String(), Incarnation: m.Record.Incarnation,
			Commit: m.Record.Commit, Addrs: addrTexts(m.Record.Addrs), Heard: m.Heard.UTC(), Self: m.Self,
		})
	}
	slices.SortFunc(c.Members, func(a, b daemon.Member) int { return strings.Compare(a.Peer, b.Peer) })
	return c
}

func addrTexts(addrs []ma.Multiaddr) []string {
	list := make([]string, 0, len(addrs))
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return list
}

// Events implements daemon.Node.
func (a *api) Events(ctx context.Context, from uint64, follow bool, send func(daemon.Event) error) error {
	return a.events.follow(ctx, from, follow, send)
}

// Drain implements daemon.Node.
func (a *api) Drain(d daemon.Drain) (daemon.Drained, error) {
	n := (*Node)(a)
	done := daemon.Drained{Cells: []string{}}
	for _, i := range n.instances() {
		cell := i.service.Cell.String()
		if d.Cell != "" && d.Cell != cell {
			continue
		}
		if err := i.Drain(d.Undo); err != nil {
			return done, err
		}
		done.Cells = append(done.Cells, cell)
	}
	if len(done.Cells) == 0 {
		what := "an instance"
		if d.Cell != "" {
			what += " of " + d.Cell
		}
		return done, &daemon.Error{Message: fmt.Sprintf("this node does not serve %s: cellnode status lists what it serves", what), Code: 1}
	}
	slices.Sort(done.Cells)
	return done, nil
}

// Metrics implements daemon.Node.
func (a *api) Metrics() http.Handler { return a.meters.handler }
