package dht

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
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
				if e.Connectedness == network.Connected && len(d.host.Network().Peers()) == 1 {
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
