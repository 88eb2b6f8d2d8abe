package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/cellnode/cellnode/client/cellgrpc"
)

// A path is one way from a client to the service.
type path struct {
	name string
	// anchors are what it is compared with; none: it is an anchor itself.
	anchors []string
	// network is what the client must find itself connected over: unix, tcp or udp.
	network string
	connect func(ctx context.Context, s *stage) (*grpc.ClientConn, error)
}

// The names of the anchors: plain gRPC over what a Go program would use.
const (
	plainUnix   = "unix"
	plainTCP    = "tcp"
	plainTLS    = "tcp + TLS 1.3"
	plainQUIC   = "quic-go stream"
	plainLibp2p = "libp2p stream"
)

var paths = []path{
	{plainUnix, nil, "unix", func(_ context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain("unix:"+s.plain.Unix, insecure.NewCredentials())
	}},
	{plainTCP, nil, "tcp", func(_ context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain(s.plain.TCP, insecure.NewCredentials())
	}},
	{plainTLS, nil, "tcp", func(_ context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain(s.plain.TLS, credentials.NewTLS(s.plain.clientTLS()))
	}},
	{plainQUIC, nil, "udp", func(ctx context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain("passthrough:///quic", insecure.NewCredentials(), grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return dialQUIC(ctx, s.plain.QUIC, s.plain.clientTLS())
		}))
	}},
	{plainLibp2p, nil, "udp", func(ctx context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain("passthrough:///libp2p", insecure.NewCredentials(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.node.bare(ctx, s.libp2p)
		}))
	}},
	{"membrane", []string{plainUnix}, "unix", cell("membrane")},
	{"direct, TCP", []string{plainTLS}, "tcp", cell("direct")},
	{"direct, QUIC", []string{plainQUIC, plainTLS}, "udp", cell("direct-quic")},
	{"punched path", []string{plainLibp2p, plainTLS}, "udp", func(ctx context.Context, s *stage) (*grpc.ClientConn, error) {
		return plain("passthrough:///punched", insecure.NewCredentials(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.node.open(ctx, s.libp2p)
		}))
	}},
	{"embedded node", []string{plainTLS}, "tcp", cell("embedded")},
	{"sidecar, TCP", []string{plainTLS}, "tcp", cell("sidecar")},
	{"sidecar, QUIC", []string{plainQUIC, plainTLS}, "udp", cell("sidecar-quic")},
}

// plain is a gRPC connection without anything of ours.
func plain(target string, creds credentials.TransportCredentials, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(creds))...)
}

// cell is a connection to a cell as users have it.
func cell(name string) func(context.Context, *stage) (*grpc.ClientConn, error) {
	return func(context.Context, *stage) (*grpc.ClientConn, error) { return cellgrpc.NewClient(name) }
}

// chosen are the paths that are asked for, with their anchors, in the order of paths.
func chosen(only string) []path {
	if only == "" {
		return paths
	}
	wanted := strings.Split(only, ";")
	for _, p := range paths {
		if slices.Contains(wanted, p.name) {
			wanted = append(wanted, p.anchors...)
		}
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p path) bool { return !slices.Contains(wanted, p.name) })
}

// A route is a path with its connection.
type route struct {
	path
	client *echo
}

// connect connects every path, and makes sure that each is what its name says.
func (s *stage) connect(ctx context.Context, list []path) ([]route, error) {
	var routes []route
	for _, p := range list {
		client, err := p.open(ctx, s)
		for tries := 1; tries < 10 && errors.Is(err, errOtherNetwork); tries++ {
			client, err = p.open(ctx, s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		routes = append(routes, route{p, client})
	}
	return routes, nil
}

// errOtherNetwork says that a client came by another way: where the first answer of all came over UDP, and the machine is
// too busy for a TCP handshake to end in its head start.
var errOtherNetwork = errors.New("connected over another network")

// open connects once.
func (p path) open(ctx context.Context, s *stage) (*echo, error) {
	cc, err := p.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	client := newEcho(cc)
	if err := p.check(ctx, client); err != nil {
		cc.Close()
		return nil, err
	}
	s.atEnd(func() { cc.Close() })
	return client, nil
}

// patience bounds the first call, in which the instance is found.
const patience = 20 * time.Second

// check makes the first call, which finds the instance, and looks at what it went over.
func (p path) check(ctx context.Context, client *echo) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var far peer.Peer
	if err := client.call(ctx, newRequest(1), grpc.WaitForReady(true), grpc.Peer(&far)); err != nil {
		return err
	}
	if network := far.Addr.Network(); network != p.network {
		return fmt.Errorf("%w: %s, not %s", errOtherNetwork, network, p.network)
	}
	return nil
}

// clientTLS trusts the plain server's certificate alone.
func (p *plainAddrs) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: p.roots(), ServerName: serverName, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
}
