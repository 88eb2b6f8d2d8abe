package daemon

import "time"

// Peers is whom a node knows.
type Peers struct {
	Peer  string      `json:"peer"` // the node itself
	Cells []CellPeers `json:"cells"`
	DHT   []DHTPeer   `json:"dht"` // its routing table, the nearest first
}

// CellPeers are the members of one cell that the node serves an instance of.
type CellPeers struct {
	Cell    string   `json:"cell"`
	Members []Member `json:"members"`
}

// Member is one instance of a cell as the node's gossip sees it.
type Member struct {
	Peer        string    `json:"peer"`
	State       string    `json:"state"`  // what it says of itself
	Status      string    `json:"status"` // alive or suspect
	Incarnation uint64    `json:"incarnation"`
	Commit      string    `json:"commit"`
	Addrs       []string  `json:"addrs"`
	Heard       time.Time `json:"heard,omitzero"` // last proof of life that the node itself had
	Self        bool      `json:"self,omitempty"`
}

// DHTPeer is a neighbour in the DHT.
type DHTPeer struct {
	Peer  string   `json:"peer"`
	Addrs []string `json:"addrs"`
}

// An Event is something that happened to a cell that the node serves.
type Event struct {
	Seq    uint64    `json:"seq"` // counts from 1 at each start of the node
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"` // joined, updated, suspected, refuted, dead, left, expired, revoked; twin: another process has the own key
	Cell   string    `json:"cell"`
	Peer   string    `json:"peer"`
	Detail string    `json:"detail,omitempty"`
}

// Drain asks a node to take an instance out of use, or back into it.
type Drain struct {
	Cell string `json:"cell,omitempty"` // as Status prints it; empty: every cell that the node serves
	Undo bool   `json:"undo,omitempty"`
}

// Drained says what has become of it.
type Drained struct {
	Cells []string `json:"cells"` // whose state has changed, or was so already
}
