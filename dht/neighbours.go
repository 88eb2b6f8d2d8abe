package dht

import (
	"crypto/sha256"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Neighbours lists the routing table, with the addresses known of each, the nearest to this node first.
func (d *DHT) Neighbours() []peer.AddrInfo {
	table, self := d.kad.RoutingTable(), sha256.Sum256([]byte(d.host.ID())) // Kademlia's key of a peer (libp2p kad-dht specification)
	ids := table.NearestPeers(self[:], table.Size())
	list := make([]peer.AddrInfo, 0, len(ids))
	for _, id := range ids {
		list = append(list, d.host.Peerstore().PeerInfo(id))
	}
	return list
}
