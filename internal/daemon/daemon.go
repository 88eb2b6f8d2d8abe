// Package daemon is the HTTP API that a node serves on a Unix socket of its owner: types, client and handler. It
// decides nothing; a Node does.
//
//	GET     /v1/status   Status
//	GET     /v1/peers    Peers: the members of its cells, and its neighbours in the DHT
//	GET     /v1/events   an Event a line (application/x-ndjson); ?from=SEQ, ?follow=true goes on
//	POST    /v1/find     Query → Reply, when every way has been asked once, or the query's time is over
//	POST    /v1/watch    Query → a Reply a line (application/x-ndjson), at once and after each change
//	POST    /v1/drain    Drain → Drained
//	CONNECT /v1/connect  ?cell=HOST/PATH@TAG&publisher=KEY…&threshold=N: the bytes that follow are those of the nearest instance
//	POST    /v1/spawn    SpawnQuery → {"step"} a line (application/x-ndjson) while it builds, then {"spawned"} or {"error"}
//	POST    /v1/stop     {"peer"} → {}: ends an instance that /v1/spawn has started
//	GET     /healthz     200 when every instance is announced, 503 and why not before
//	GET     /metrics     for Prometheus
//
// An error is {"error": "one line", "code": N} with the exit code that the command line gives it.
package daemon

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// Socket is the name of the machine's node's socket, below run/ in the home directory. A node beside an instance has one
// of its own, node-<the last 8 characters of its peer ID>.sock.
const Socket = "cellnode.sock"

// A Query asks for the instances of one cell.
type Query struct {
	Repository  string   `json:"repository"`
	Tag         string   `json:"tag"`
	Commit      string   `json:"commit,omitempty"`      // wanted, in hex; empty: any
	Fingerprint string   `json:"fingerprint,omitempty"` // wanted, in hex; empty: any
	Publishers  []string `json:"publishers,omitempty"`  // keys, as in [trust] keys: only whom they grant it serves; empty: anybody
	Threshold   int      `json:"threshold,omitempty"`   // as in [trust]; 0: one
	Document    string   `json:"document,omitempty"`    // the newest trust document that the asker knows, base64; empty: none
	Seeds       []Seed   `json:"seeds,omitempty"`       // what the asker's own files name
	Only        []string `json:"only,omitempty"`        // the ways to use; empty: all
	TimeoutMS   int64    `json:"timeout_ms,omitempty"`  // 0: five seconds
}

// Trust is the [trust] of the cell; nil where it is open.
func (q Query) Trust() *manifest.Trust {
	if len(q.Publishers) == 0 {
		return nil
	}
	return &manifest.Trust{Keys: q.Publishers, Threshold: max(1, q.Threshold)}
}

// A Seed is an instance that may be alive.
type Seed struct {
	Peer  string   `json:"peer"`
	Addrs []string `json:"addrs"`
}

// An Instance is one live instance as commands print it.
type Instance struct {
	Peer        string    `json:"peer"`
	State       string    `json:"state"`
	RTTMillis   float64   `json:"rtt_ms"`
	Path        string    `json:"path"`
	Addrs       []string  `json:"addrs"`
	Commit      string    `json:"commit"`
	Fingerprint string    `json:"fingerprint"`
	Sources     []string  `json:"sources"`
	Since       time.Time `json:"since"`
	Incarnation uint64    `json:"incarnation"`
	Socket      string    `json:"socket,omitempty"`
	Record      []byte    `json:"record,omitempty"`
}

// A WayReport is what became of one way of finding.
type WayReport struct {
	Way    string  `json:"way"`
	Found  int     `json:"found"`
	Millis float64 `json:"ms"`
	Done   bool    `json:"done"`
	Error  string  `json:"error,omitempty"`
}

// A Refusal is a candidate that is not used.
type Refusal struct {
	Peer    string   `json:"peer"`
	Sources []string `json:"sources"`
	Error   string   `json:"error"`
	Code    string   `json:"code,omitempty"` // stable, such as E_UNREACHABLE: docs/errors.md
}

// A Reply is what is known of a cell.
type Reply struct {
	Cell      string      `json:"cell"`
	CID       string      `json:"cid"`
	Instances []Instance  `json:"instances"`
	Settled   bool        `json:"settled"` // every way has been asked once, every candidate probed
	Ways      []WayReport `json:"ways,omitempty"`
	Refused   []Refusal   `json:"refused,omitempty"`
}

// Status is what a node says of itself.
type Status struct {
	Peer      string       `json:"peer"`
	Addrs     []string     `json:"addrs"`
	Listen    []string     `json:"listen"`
	Started   time.Time    `json:"started"`
	Version   string       `json:"version"`
	PID       int          `json:"pid"`
	DHT       DHTStatus    `json:"dht"`
	NAT       NATStatus    `json:"nat"`
	Instances []CellStatus `json:"serving"`
	Notes     []string     `json:"notes,omitempty"` // what a person should know, one line each
}

// NATStatus is what a node has learned from others of how it is reached.
type NATStatus struct {
	UDP       string   `json:"udp"`       // NATUnknown, NATIndependent or NATDependent: the last two only behind a NAT
	Confirmed []string `json:"confirmed"` // addresses that others have reached from outside
}

// The kinds of NAT, by how they map one inner address (RFC 4787 section 4.1).
const (
	NATUnknown     = "unknown"
	NATIndependent = "endpoint-independent" // to one outer address for all destinations: holes can be punched
	NATDependent   = "endpoint-dependent"   // to another one for each destination: they cannot
)

// DHTStatus is the node's place in the DHT.
type DHTStatus struct {
	State string `json:"state"` // off, alone, joined
	Peers int    `json:"peers"` // in the routing table
}

// CellStatus is one cell that the node serves an instance of.
type CellStatus struct {
	Cell        string     `json:"cell"`
	CID         string     `json:"cid"`
	State       string     `json:"state"`
	Commit      string     `json:"commit"`
	Fingerprint string     `json:"fingerprint"`
	Incarnation uint64     `json:"incarnation"`
	Members     int        `json:"members"`
	Announced   *Announced `json:"announced,omitempty"`
	Upstream    string     `json:"upstream,omitempty"`
	GrantEnds   time.Time  `json:"grant_ends,omitzero"`
	Ready       bool       `json:"ready"` // announced and read back, or alone; not without a grant that holds
}

// Announced is the state of a cell's key in the DHT.
type Announced struct {
	Replicas int  `json:"replicas"`
	ReadBack bool `json:"read_back"`
	Alone    bool `json:"alone"`
	// ByOthers: enough other members announce the cell, so this instance need not.
	ByOthers bool      `json:"by_others"`
	Last     time.Time `json:"last,omitzero"`
	Next     time.Time `json:"next,omitzero"`
	Error    string    `json:"error,omitempty"`
}

// NewReply puts what a tracker knows into the form that is printed.
func NewReply(cell manifest.Cell, s find.Snapshot) Reply {
	r := Reply{
		Cell: cell.String(), CID: cell.ID().String(), Instances: make([]Instance, 0, len(s.Instances)), Settled: s.Settled,
	}
	for _, i := range s.Instances {
		r.Instances = append(r.Instances, newInstance(i))
	}
	for _, w := range s.Ways {
		report := WayReport{Way: w.Way, Found: w.Found, Millis: Millis(w.Took), Done: w.Done}
		if w.Err != nil {
			report.Error = w.Err.Error()
		}
		r.Ways = append(r.Ways, report)
	}
	for _, x := range s.Refused {
		r.Refused = append(r.Refused, Refusal{x.Peer.String(), x.Ways, x.Err.Error(), refusalCode(x.Err)})
	}
	return r
}

func newInstance(i find.Instance) Instance {
	out := Instance{
		Peer: i.Peer.String(), State: i.Status(), RTTMillis: Millis(i.RTT), Path: i.Path,
		Addrs: make([]string, 0, len(i.Addrs)), Commit: i.Commit, Fingerprint: i.Fingerprint,
		Sources: i.Sources, Since: i.Since.UTC().Truncate(time.Millisecond), Incarnation: i.Incarnation, Socket: i.Socket,
	}
	for _, a := range i.Addrs {
		out.Addrs = append(out.Addrs, a.String())
	}
	if i.Record != nil {
		out.Record = i.Record.Envelope
	}
	return out
}

// Millis returns a duration in milliseconds, to the microsecond.
func Millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// NewSeeds puts seeds into the form of a Query.
func NewSeeds(seeds []manifest.Seed) []Seed {
	list := make([]Seed, 0, len(seeds))
	for _, s := range seeds {
		out := Seed{Peer: s.Peer.String()}
		for _, a := range s.Addrs {
			out.Addrs = append(out.Addrs, a.String())
		}
		list = append(list, out)
	}
	return list
}

// ParseSeeds returns the seeds of a Query; what cannot be dialled is left out.
func ParseSeeds(seeds []Seed) []manifest.Seed {
	list := make([]manifest.Seed, 0, len(seeds))
	for _, s := range seeds {
		id, err := peer.Decode(s.Peer)
		if err != nil {
			continue
		}
		out := manifest.Seed{Peer: id}
		for _, text := range s.Addrs {
			if a, err := ma.NewMultiaddr(text); err == nil {
				out.Addrs = append(out.Addrs, a)
			}
		}
		list = append(list, out)
	}
	return list
}

// Candidates returns what a node's reply says as hints for a tracker of one's own: each source that the node names
// is a way. Records are verified; what does not verify is left out.
func (r Reply) Candidates(cell manifest.Cell, now time.Time) []find.Candidate {
	var list []find.Candidate
	for _, i := range r.Instances {
		id, err := peer.Decode(i.Peer)
		if err != nil {
			continue
		}
		rec, err := record.Verify(i.Record, cell.ID(), now)
		if err != nil || rec.Peer != id {
			continue
		}
		for _, way := range i.Sources {
			list = append(list, find.Candidate{Peer: id, Addrs: rec.Addrs, Record: rec, Way: way, Trusted: true})
		}
	}
	return list
}

// refusalCode is the stable code of why an instance is not used.
func refusalCode(err error) string {
	var bad *record.Refusal
	if errors.As(err, &bad) {
		return string(bad.Code)
	}
	return link.ErrorCode(err)
}
