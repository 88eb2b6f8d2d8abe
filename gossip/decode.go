package gossip

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
	"github.com/cellnode/cellnode/internal/record"
)

func toHello(p *pb.Hello) (Message, error) {
	if err := checkRecord(p.GetRecord()); err != nil {
		return nil, err
	}
	return &Hello{Record: p.GetRecord(), Count: int(p.GetCount()), Root: p.GetRoot(), Trust: p.GetTrust()}, nil
}

func toPing(p *pb.Ping) (Message, error) {
	nonce, err := toNonce(p.GetNonce())
	if err != nil {
		return nil, err
	}
	m := &Ping{ID: p.GetId(), Nonce: nonce}
	if p.GetIncarnation() != 0 {
		m.Voted = &Version{p.GetIncarnation(), p.GetSeq()}
	}
	return m, nil
}

func toAck(p *pb.Ack) (Message, error) {
	nonce, err := toNonce(p.GetNonce())
	if err != nil {
		return nil, err
	}
	if n := len(p.GetSignature()); n != 0 && n != 64 {
		return nil, bad("signature of %d bytes", n)
	}
	if p.GetState() > uint32(record.Unhealthy) {
		return nil, bad("state %d", p.GetState())
	}
	return &Ack{
		ID: p.GetId(), Next: time.Duration(p.GetNextMs()) * time.Millisecond, State: record.State(p.GetState()),
		Seq: p.GetSeq(), Nonce: nonce, Signature: p.GetSignature(),
	}, nil
}

func toPush(p *pb.Push) (Message, error) {
	m := &Push{Records: p.GetRecords(), Quiet: p.GetQuiet(), Trust: p.GetTrust()}
	if len(m.Trust) > record.MaxTrustSize {
		return nil, bad("trust document of %d bytes", len(m.Trust))
	}
	for _, r := range m.Records {
		if err := checkRecord(r); err != nil {
			return nil, err
		}
	}
	for _, c := range p.GetCertificates() {
		d, err := toDeath(c)
		if err != nil {
			return nil, err
		}
		m.Deaths = append(m.Deaths, d)
	}
	return m, nil
}

func toDeath(p *pb.Certificate) (Death, error) {
	subject, err := toPeer(p.GetSubject())
	if err != nil {
		return Death{}, err
	}
	if n := len(p.GetVotes()); n == 0 || n > MaxVotes {
		return Death{}, bad("certificate of %d votes", n)
	}
	c := &Certificate{
		Subject: subject, Version: Version{p.GetIncarnation(), p.GetSeq()},
		Expires: time.Unix(min(max(p.GetExpires(), 0), 1<<40), 0),
	}
	for _, v := range p.GetVotes() {
		vote, err := toVote(v)
		if err != nil {
			return Death{}, err
		}
		c.Votes = append(c.Votes, *vote)
	}
	return Death{c, time.Duration(p.GetAgeMs()) * time.Millisecond}, nil
}

func toVote(p *pb.Vote) (*Vote, error) {
	voter, err := toPeer(p.GetVoter())
	if err != nil {
		return nil, err
	}
	if len(p.GetSignature()) != 64 {
		return nil, bad("signature of %d bytes", len(p.GetSignature()))
	}
	waited := time.Duration(p.GetWaitedMs()) * time.Millisecond
	if waited > MaxWaited {
		return nil, bad("vote after %s", waited)
	}
	return &Vote{Voter: voter, At: time.UnixMilli(p.GetAtMs()), Waited: waited, Signature: p.GetSignature()}, nil
}

func toAsk(p *pb.Ask) (Message, error) {
	subject, err := toPeer(p.GetSubject())
	if err != nil {
		return nil, err
	}
	nonce, err := toNonce(p.GetNonce())
	if err != nil || nonce == nil {
		return nil, bad("ask without a nonce")
	}
	return &Ask{subject, Version{p.GetIncarnation(), p.GetSeq()}, *nonce}, nil
}

func toAnswer(p *pb.Answer) (Message, error) {
	subject, err := toPeer(p.GetSubject())
	if err != nil {
		return nil, err
	}
	nonce, err := toNonce(p.GetNonce())
	if err != nil || nonce == nil {
		return nil, bad("answer without a nonce")
	}
	m := &Answer{Subject: subject, Nonce: *nonce, Version: Version{p.GetIncarnation(), p.GetSeq()}}
	switch {
	case p.GetVote() != nil:
		m.Vote, err = toVote(p.GetVote())
	case len(p.GetAlive()) != 0:
		m.Alive = p.GetAlive()
	default:
		m.Record, err = p.GetRecord(), checkRecord(p.GetRecord())
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func toBuckets(p *pb.Buckets) (Message, error) {
	if len(p.GetHashes()) != bucketCount {
		return nil, bad("%d buckets", len(p.GetHashes()))
	}
	return &Buckets{[bucketCount]uint64(p.GetHashes()), int(p.GetCount())}, nil
}

func toIDs(p *pb.Ids) (Message, error) {
	if len(p.GetBuckets()) > bucketCount {
		return nil, bad("%d buckets", len(p.GetBuckets()))
	}
	ids, err := toIDList(p.GetIds())
	if err != nil {
		return nil, err
	}
	return &IDs{Buckets: p.GetBuckets(), IDs: ids}, nil
}

func toHave(p *pb.Have) (Message, error) {
	deaths, err := toIDList(p.GetDeaths())
	if err != nil {
		return nil, err
	}
	return &Have{deaths}, nil
}

func toIDList(list []*pb.Id) ([]ID, error) {
	if len(list) > MaxFrame/32 {
		return nil, bad("%d ids", len(list))
	}
	var out []ID
	for _, id := range list {
		who, err := toPeer(id.GetPeer())
		if err != nil {
			return nil, err
		}
		out = append(out, ID{who, Version{id.GetIncarnation(), id.GetSeq()}, id.GetSum()})
	}
	return out, nil
}

func toWant(p *pb.Want) (Message, error) {
	m := &Want{}
	for _, b := range p.GetPeers() {
		who, err := toPeer(b)
		if err != nil {
			return nil, err
		}
		m.Peers = append(m.Peers, who)
	}
	return m, nil
}

// ed25519ID is how the ID of every Ed25519 peer begins: an identity multihash of a protobuf key.
const ed25519ID = "\x00\x24\x08\x01\x12\x20"

func toPeer(b []byte) (peer.ID, error) {
	if len(b) != len(ed25519ID)+32 || string(b[:len(ed25519ID)]) != ed25519ID {
		return "", bad("peer of %d bytes is not an Ed25519 peer", len(b))
	}
	return peer.ID(b), nil
}

func toNonce(b []byte) (*Nonce, error) {
	switch len(b) {
	case 0:
		return nil, nil
	case len(Nonce{}):
		n := Nonce(b)
		return &n, nil
	}
	return nil, bad("nonce of %d bytes", len(b))
}
