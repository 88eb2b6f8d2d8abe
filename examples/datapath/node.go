package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/overlay/punch"
)

// bareProtocol is that of the anchor: gRPC on a stream of libp2p, and nothing of ours.
const bareProtocol = "/grpc/1"

// A libp2pNode is a host that calls go through as they do once a hole is punched. On one machine there is no hole to punch, so
// the two hosts are simply connected.
type libp2pNode struct {
	host   host.Host
	punch  *punch.Puncher
	dialer *link.Dialer
}

// newLibp2pNode makes one that listens there, or does not listen.
func newLibp2pNode(listen ...string) (*libp2pNode, error) {
	h, err := libp2p.New(
		libp2p.Transport(libp2pquic.NewTransport), libp2p.ListenAddrStrings(listen...), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		return nil, err
	}
	cfg := punch.Config{Host: h}
	if len(listen) > 0 {
		cfg.Seen = func() punch.Seen { return punch.Seen{} }
	}
	p, err := punch.New(cfg)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	d, err := link.NewDialer(link.DialerConfig{DialNode: p.Dial})
	if err != nil {
		return nil, errors.Join(err, p.Close(), h.Close())
	}
	return &libp2pNode{h, p, d}, nil
}

func (n *libp2pNode) close() {
	n.dialer.Close()
	n.punch.Close()
	n.host.Close()
}

// connect connects the two hosts, and returns who the other is.
func (n *libp2pNode) connect(ctx context.Context, to *nodeAddrs) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(to.Addrs[0])
	if err != nil {
		return "", err
	}
	return info.ID, n.host.Connect(ctx, *info)
}

// bare opens a stream of libp2p.
func (n *libp2pNode) bare(ctx context.Context, to *nodeAddrs) (net.Conn, error) {
	id, err := n.connect(ctx, to)
	if err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(ctx, id, bareProtocol)
	if err != nil {
		return nil, err
	}
	return punch.Conn(s), nil
}

// open opens a stream of cell/1 on the standing connection. The relay's address is never dialled.
func (n *libp2pNode) open(ctx context.Context, to *nodeAddrs) (net.Conn, error) {
	id, err := n.connect(ctx, to)
	if err != nil {
		return nil, err
	}
	relay := ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/1/quic-v1/p2p/%s/p2p-circuit", id))
	return n.dialer.Open(ctx, link.Target{Peer: id, Addrs: []ma.Multiaddr{relay}, Trusted: true}, link.Hello{Cell: cellOf("punched").ID()})
}

// serveLibp2p serves on both protocols.
func serveLibp2p() (*nodeAddrs, func(), error) {
	n, err := newLibp2pNode("/ip4/127.0.0.1/udp/0/quic-v1")
	if err != nil {
		return nil, nil, err
	}
	id, err := link.NewIdentity(n.host.Peerstore().PrivKey(n.host.ID()))
	if err != nil {
		return nil, nil, err
	}
	l := newInbox()
	server, err := link.NewServer(link.ServerConfig{Identity: id, Handler: l})
	if err != nil {
		return nil, nil, err
	}
	server.ServeNode(n.punch.Listener())
	bare := newInbox()
	n.host.SetStreamHandler(bareProtocol, func(s network.Stream) { bare.put(punch.Conn(s)) })
	s := newServer()
	go s.Serve(l)
	go s.Serve(bare)
	a := &nodeAddrs{Peer: n.host.ID().String()}
	for _, addr := range n.host.Addrs() {
		a.Addrs = append(a.Addrs, fmt.Sprintf("%s/p2p/%s", addr, n.host.ID()))
	}
	return a, func() {
		s.Stop()
		server.Close()
		n.close()
	}, nil
}

// inbox is a listener of connections that come from elsewhere, and the link.Handler that brings those of cell/1.
type inbox struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newInbox() *inbox { return &inbox{conns: make(chan net.Conn), done: make(chan struct{})} }

func (i *inbox) put(c net.Conn) {
	select {
	case i.conns <- c:
	case <-i.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (i *inbox) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (i *inbox) Close() error {
	i.once.Do(func() { close(i.done) })
	return nil
}

// Addr implements net.Listener.
func (i *inbox) Addr() net.Addr { return &net.UDPAddr{} }

// Welcome takes every call.
func (i *inbox) Welcome(link.Hello, peer.ID) link.Welcome { return link.Welcome{Code: link.CodeOK} }

// Open hands the connection over and stays until it is closed.
func (i *inbox) Open(ctx context.Context, _ link.Hello, c net.Conn) {
	closed := &closing{Conn: c, closed: make(chan struct{})}
	i.put(closed)
	select {
	case <-closed.closed:
	case <-ctx.Done():
	}
}

type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var errNotServed = errors.New("datapath: only calls are taken")

// List, Watch, Entrust and Interface are for more than one instance.
func (i *inbox) List(context.Context, link.Hello) (link.List, error) {
	return link.List{}, errNotServed
}

func (i *inbox) Watch(context.Context, link.Hello, func(link.List) error) error { return errNotServed }

func (i *inbox) Entrust(cid.Cid, []byte) error { return errNotServed }

func (i *inbox) Interface(cid.Cid) []byte { return nil }
