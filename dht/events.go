package dht

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
)

func subscribe(h host.Host) (event.Subscription, error) {
	sub, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtLocalAddressesUpdated),
	}, eventbus.BufSize(256), eventbus.Name("cell/dht"))
	if err != nil {
		return nil, fmt.Errorf("dht: host events: %w", err)
	}
	return sub, nil
}

// follow passes the host's events on: connections concern the table, addresses whoever announces.
func (d *DHT) follow(ctx context.Context, sub event.Subscription) {
	defer sub.Close()
	present := presence{}
	for _, p := range d.host.Network().Peers() { // who was there before the events
		if d.connected(p) {
			present[p] = struct{}{}
		}
	}
	for {
		select {
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			switch e := e.(type) {
			case event.EvtLocalAddressesUpdated:
				d.addrs.fire()
			case event.EvtPeerConnectednessChanged:
				d.table.nudge()
				if present.note(e) {
					d.back.fire()
				}
			default:
				d.table.nudge()
			}
		case <-ctx.Done():
			return
		}
	}
}

// presence is the peers that are connected, as the host's events tell. What the host itself says while an event is handled
// may be further on: of peers that connected at once none would seem the first.
type presence map[peer.ID]struct{}

// note takes an event and reports whether a peer has come after a time in which there was none.
func (p presence) note(e event.EvtPeerConnectednessChanged) bool {
	if e.Connectedness != network.Connected {
		delete(p, e.Peer)
		return false
	}
	before := len(p)
	p[e.Peer] = struct{}{}
	return before == 0
}
