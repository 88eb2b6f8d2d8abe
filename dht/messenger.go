package dht

import (
	"context"
	"fmt"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio/pbio"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-multistream"
)

const (
	rpcTimeout  = 3 * time.Second // of one message to one peer, dialling included; kad-dht itself waits 10 to 20 s
	rpcParallel = 16              // messages of one announcement or search that are under way together
)

// messenger sends single messages of the kad protocol, outside any look-up.
type messenger struct {
	m        *pb.ProtocolMessenger
	network  network.Network
	protocol protocol.ID
}

func newMessenger(node *kad.IpfsDHT, id protocol.ID) (*messenger, error) {
	m, err := pb.NewProtocolMessenger(node.MessageSender())
	if err != nil {
		return nil, fmt.Errorf("dht: %w", err)
	}
	return &messenger{m, node.Host().Network(), id}, nil
}

// put hands the record to p. The message has no answer: nil means written, not kept.
func (m *messenger) put(ctx context.Context, p peer.ID, key multihash.Multihash, self peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	return m.m.PutProviderAddrs(ctx, p, key, self)
}

// get asks p for the providers of key that it holds.
func (m *messenger) get(ctx context.Context, p peer.ID, key multihash.Multihash) ([]*peer.AddrInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	if m.network.Connectedness(p) != network.Connected {
		return m.getCold(ctx, p, key)
	}
	providers, _, err := m.m.GetProviders(ctx, p, key)
	return providers, err
}

// getCold asks a peer that is not connected, in two round trips: the handshake, and the question right behind it. The
// messenger of kad-dht takes four, because it waits for identify and for the protocol to be agreed on.
func (m *messenger) getCold(ctx context.Context, p peer.ID, key multihash.Multihash) ([]*peer.AddrInfo, error) {
	s, err := m.network.NewStream(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if err := s.SetProtocol(m.protocol); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	_ = s.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()

	framed := multistream.NewMSSelect(s, m.protocol)
	question := pb.NewMessage(pb.Message_GET_PROVIDERS, key, 0)
	if err := pbio.NewDelimitedWriter(framed).WriteMsg(question); err != nil {
		return nil, err
	}
	var answer pb.Message
	if err := pbio.NewDelimitedReader(framed, network.MessageSizeMax).ReadMsg(&answer); err != nil {
		return nil, err
	}
	_ = s.Close()
	return pb.PBPeersToPeerInfos(answer.GetProviderPeers()), nil
}

// closer asks p for the peers nearest to target that it knows.
func (m *messenger) closer(ctx context.Context, p peer.ID, target string) ([]*peer.AddrInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	return m.m.GetClosestPeers(ctx, p, peer.ID(target))
}
