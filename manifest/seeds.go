package manifest

import (
	"encoding/base64"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
)

// SeedList is an instances.json (or Cells.json, its older name): instances that were alive when it was written. It is
// a list of hints; only a handshake says who is there.
type SeedList struct {
	Cell      cid.Cid   // the cell's key; undefined when the file does not say
	Updated   time.Time // when it was written, to the second, UTC; zero when the file does not say
	Instances []Seed    // sorted by peer, no peer twice
}

// Seed is one instance that may be alive.
type Seed struct {
	Peer   peer.ID
	Addrs  []ma.Multiaddr // at most MaxSeedAddrs, without /p2p; sorted as text, none twice
	Record []byte         // signed instance record, at most MaxRecordSize bytes; nil: none. Not verified here
}

// ParseSeedList decodes and checks a seed list of at most MaxSeedListSize bytes. path is used in messages alone. The
// error is a *FileError.
func ParseSeedList(path string, data []byte) (*SeedList, error) {
	root, err := parseJSON(path, data, MaxSeedListSize)
	if err != nil {
		return nil, err
	}
	if root.mustTable(); root.tree.err != nil {
		return nil, root.tree.failed()
	}
	l := &SeedList{Cell: readCID(root, "cell"), Updated: readTime(root, "updated"), Instances: readSeeds(root, "instances")}
	root.refuseUnknown()
	if !root.child("instances").present() {
		root.fail(`has no instances; an empty list is written "instances": []`)
	}
	if err := root.tree.failed(); err != nil {
		return nil, err
	}
	return l, nil
}

// mustTable refuses a file whose root is not an object.
func (n *node) mustTable() {
	if _, ok := n.value.(map[string]*node); !ok {
		n.fail("is %s where an object is expected", n.kind())
	}
}

func readCID(n *node, key string) cid.Cid {
	text := n.text(key, 256)
	c := n.child(key)
	if !c.present() {
		return cid.Undef
	}
	id, err := cid.Decode(text)
	if err != nil || !isCellID(id) {
		c.fail("is %q, which is not a cell's key; cellnode id prints it", text)
		return cid.Undef
	}
	return id
}

func isCellID(id cid.Cid) bool {
	p := id.Prefix()
	return p.Version == 1 && p.Codec == cid.Raw && p.MhType == mh.SHA2_256 && p.MhLength == 32
}

func readTime(n *node, key string) time.Time {
	text := n.text(key, 64)
	if !n.child(key).present() {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.UTC().Year() > 9999 {
		n.child(key).fail("is %q; write a time such as 2026-11-22T20:00:00Z", text)
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

func readSeeds(n *node, key string) []Seed {
	list := n.elements(key, MaxSeeds)
	if list == nil {
		return nil
	}
	seeds := make([]Seed, 0, len(list))
	seen := make(map[peer.ID]bool, len(list))
	for _, e := range list {
		s := readSeed(e)
		if n.tree.err != nil {
			return nil
		}
		if seen[s.Peer] {
			e.fail("names the peer %s a second time", s.Peer)
			return nil
		}
		seen[s.Peer] = true
		seeds = append(seeds, s)
	}
	sortSeeds(seeds)
	return seeds
}

func readSeed(n *node) Seed {
	n.mustTable()
	var s Seed
	text := n.text("peer", 128)
	id, err := peer.Decode(text)
	if err != nil {
		n.child("peer").fail("is %q, which is not a peer ID", text)
		return s
	}
	s.Peer = id
	s.Record = readBase64(n, "record", MaxRecordSize)
	for _, a := range n.texts("addrs", MaxSeedAddrs, MaxAddrSize) {
		addr, problem := parseSeedAddr(a, id)
		if problem != "" {
			n.child("addrs").fail("has %q: it %s", a, problem)
			return s
		}
		s.Addrs = append(s.Addrs, addr)
	}
	n.refuseUnknown()
	if len(s.Addrs) == 0 && s.Record == nil {
		n.fail("has neither addrs nor a record, so nothing could be reached by it")
	}
	s.Addrs = sortAddrs(s.Addrs)
	return s
}

// parseSeedAddr takes an address as people copy it, with the peer at its end, and drops the peer.
func parseSeedAddr(text string, id peer.ID) (ma.Multiaddr, string) {
	addr, err := ma.NewMultiaddr(text)
	if err != nil {
		return nil, "is not a multiaddr such as /ip4/203.0.113.7/udp/40000/quic-v1"
	}
	transport, last := ma.SplitLast(addr)
	if last != nil && last.Protocol().Code == ma.P_P2P {
		if last.Value() != id.String() {
			return nil, "names another peer"
		}
		addr = transport
	}
	if len(addr) == 0 {
		return nil, "has no transport"
	}
	for _, c := range addr {
		if c.Protocol().Code == ma.P_P2P || c.Protocol().Code == ma.P_CIRCUIT {
			return nil, "goes through a relay, which cannot be a seed's address"
		}
	}
	return addr, ""
}

func readBase64(n *node, key string, limit int) []byte {
	text := n.text(key, base64.StdEncoding.EncodedLen(limit))
	if !n.child(key).present() {
		return nil
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(data) == 0 || len(data) > limit {
		n.child(key).fail("is not base64 of 1 to %d bytes", limit)
		return nil
	}
	return data
}
