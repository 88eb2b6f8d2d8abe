package embed_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// The benchmarks of a cold dial measure from nothing to the first echoed byte, in turns with an anchor that does the
// same by plainer means, because absolute times on a shared machine say little. What counts is the ratio of the medians.
// They are written down in docs/benchmarks.md.

// rounds is how often each side runs.
const rounds = 25

var commit = strings.Repeat("c0", 20)

// contest runs both sides in turns, which of them first changing each time, and reports the medians and their ratio.
func contest(b *testing.B, ours, anchor func() time.Duration) {
	b.Helper()
	ours() // what a process loads once is loaded
	anchor()
	var our, theirs []time.Duration
	for b.Loop() {
		for n := range rounds {
			if n%2 == 0 {
				our = append(our, ours())
			}
			theirs = append(theirs, anchor())
			if n%2 == 1 {
				our = append(our, ours())
			}
		}
	}
	slices.Sort(our)
	slices.Sort(theirs)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(millis(our[len(our)/2]), "ms")
	b.ReportMetric(millis(theirs[len(theirs)/2]), "anchor-ms")
	b.ReportMetric(millis(our[len(our)*9/10]), "p90-ms")
	b.ReportMetric(float64(our[len(our)/2])/float64(theirs[len(theirs)/2]), "ratio")
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// echoed exchanges one byte.
func echoed(b *testing.B, c net.Conn, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(limit))
	one := []byte{1}
	if _, err := c.Write(one); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, one); err != nil {
		b.Fatal(err)
	}
}

// serveEcho serves an instance that echoes.
func serveEcho(b *testing.B, n *overlay.Node) *overlay.Instance {
	b.Helper()
	i, err := n.Serve(b.Context(), overlay.Service{Cell: exchange, Commit: commit, Handle: func(_ context.Context, c net.Conn) {
		defer c.Close()
		io.Copy(c, c)
	}})
	if err != nil {
		b.Fatal(err)
	}
	return i
}

// clientOf measures a client that is new in every respect, up to its first echoed byte.
func clientOf(b *testing.B, cfg client.Config, config string) time.Duration {
	b.Helper()
	cfg.Home = homeWith(b, config)
	start := time.Now()
	c, err := client.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	conn, err := c.Dial(within(b), "exchange")
	echoed(b, conn, err)
	took := time.Since(start)
	conn.Close()
	return took
}

// BenchmarkColdDialSeeds: a client with an empty home and three seeds in its lock, TCP and QUIC racing, beside TLS 1.3 to
// an address that is known.
func BenchmarkColdDialSeeds(b *testing.B) {
	dir := consumerOf(b, serveEcho(b, node(b)), serveEcho(b, node(b)), serveEcho(b, node(b)))
	cert, roots := certificate(b)
	addr := plainTLS(b, cert)
	contest(b, func() time.Duration {
		return clientOf(b, client.Config{Dir: dir}, "mdns = false\n")
	}, func() time.Duration {
		start := time.Now()
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "echo", MinVersion: tls.VersionTLS13})
		echoed(b, c, err)
		took := time.Since(start)
		c.Close()
		return took
	})
}

// consumerOf returns a folder with a Cell.toml, and a lock with these instances as seeds.
func consumerOf(b *testing.B, instances ...*overlay.Instance) string {
	b.Helper()
	var seeds []manifest.Seed
	for _, i := range instances {
		seeds = append(seeds, manifest.Seed{Peer: i.Record().Peer, Addrs: i.Record().Addrs})
	}
	lock := manifest.Lock{Cells: []manifest.LockedCell{{
		Name: "exchange", Cell: exchange, Git: exchange.URL(), Commit: commit, Seeds: seeds,
	}}}
	data, err := lock.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	dir := consumer(b)
	write(b, filepath.Join(dir, "Cell.lock"), string(data))
	return dir
}

// certificate makes an Ed25519 certificate for "echo", and the roots that trust it.
func certificate(b *testing.B) (tls.Certificate, *x509.CertPool) {
	b.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"echo"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// plainTLS starts a server that echoes.
func plainTLS(b *testing.B, cert tls.Certificate) (addr string) {
	b.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkColdDialDHT: a client with an empty home, one entry point and no seeds, that uses the DHT alone, beside a bare
// client of kad-dht with the same entry point; 50 nodes on loopback, three of which announce.
func BenchmarkColdDialDHT(b *testing.B) {
	const nodes, announcing = 50, 3
	const echo = "/echo/1"
	first := leanNode(b, nil)
	for n := range nodes - 1 {
		other := leanNode(b, first)
		if n >= announcing {
			continue
		}
		other.Host().SetStreamHandler(echo, func(s network.Stream) {
			defer s.Close()
			io.Copy(s, s)
		})
		if err := serveEcho(b, other).Ready(within(b)); err != nil {
			b.Fatal(err)
		}
	}
	dir := consumer(b)
	contest(b, func() time.Duration {
		return clientOf(b, client.Config{Dir: dir, Only: []string{find.DHT}}, entry(first))
	}, func() time.Duration {
		return bareKad(b, peer.AddrInfo{ID: first.ID(), Addrs: first.Host().Addrs()}, echo)
	})
}

// leanNode starts one of many nodes in this process.
func leanNode(b *testing.B, known *overlay.Node) *overlay.Node {
	b.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	cfg := overlay.Config{Key: key, Lean: true, Listen: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls"),
	}}
	if known != nil {
		cfg.Bootstrap = []peer.AddrInfo{{ID: known.ID(), Addrs: known.Host().Addrs()}}
	}
	n, err := overlay.New(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}

// bareKad measures what a short program on go-libp2p and kad-dht does: a host that only dials, connected to the entry
// point; when that is in the routing table, providers; the first that takes a stream.
func bareKad(b *testing.B, entry peer.AddrInfo, echo protocol.ID) time.Duration {
	b.Helper()
	ctx, cancel := context.WithCancel(within(b))
	defer cancel()
	start := time.Now()
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableMetrics())
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	d, err := kad.New(h, kad.Mode(kad.ModeClient), kad.ProtocolPrefix("/cell"), kad.DisableAutoRefresh(), kad.DisableValues())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	added := make(chan struct{}, 1)
	own := d.RoutingTable().PeerAdded
	d.RoutingTable().PeerAdded = func(p peer.ID) {
		own(p)
		select {
		case added <- struct{}{}:
		default:
		}
	}
	if err := h.Connect(ctx, entry); err != nil {
		b.Fatal(err)
	}
	if d.RoutingTable().Size() == 0 {
		<-added
	}
	for p := range d.FindProvidersAsync(ctx, exchange.ID(), 0) {
		if h.Connect(ctx, p) != nil {
			continue
		}
		s, err := h.NewStream(ctx, p.ID, echo)
		if err != nil {
			continue
		}
		echoed(b, streamConn{s}, nil)
		return time.Since(start)
	}
	b.Fatal("the bare client found nobody")
	return 0
}

// streamConn is as much of a net.Conn as echoed needs.
type streamConn struct{ network.Stream }

func (streamConn) LocalAddr() net.Addr  { return nil }
func (streamConn) RemoteAddr() net.Addr { return nil }
