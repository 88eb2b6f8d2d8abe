package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/cellnode/cellnode/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testCell  = cid.MustParse("bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm")
	otherCell = cid.MustParse("bafkreicue6oiwv3kbcsubeelelsiyiaf2ttycfvlovukqvw3ulwc3dbvn4")
	hello     = Hello{Cell: testCell}
)

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newIdentity(t testing.TB) *Identity {
	t.Helper()
	id, err := NewIdentity(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// handler is a Handler of test functions; those that are nil do what is harmless.
type handler struct {
	welcome func(Hello, peer.ID) Welcome
	open    func(context.Context, Hello, *Conn)
	list    func(etag []byte) (List, error)
	watch   func(context.Context, func(List) error) error
	tells   []byte // its interface
	hellos  atomic.Int64
	opens   atomic.Int64
}

func (h *handler) Welcome(hello Hello, remote peer.ID) Welcome {
	h.hellos.Add(1)
	if h.welcome != nil {
		return h.welcome(hello, remote)
	}
	if hello.Cell != testCell {
		return Welcome{Code: CodeCell, Detail: "not here"}
	}
	return Welcome{Code: CodeOK, State: record.Serving, Incarnation: 7, Load: 3, Commit: hello.Commit}
}

func (h *handler) Open(ctx context.Context, hello Hello, c net.Conn) {
	h.opens.Add(1)
	if h.open != nil {
		h.open(ctx, hello, c.(*Conn))
		return
	}
	io.Copy(c, c) // echo
}

func (h *handler) List(_ context.Context, hello Hello) (List, error) {
	if h.list != nil {
		return h.list(hello.ETag)
	}
	return List{Full: true}, nil
}

func (h *handler) Interface(cid.Cid) []byte { return h.tells }

func (h *handler) Entrust(_ cid.Cid, document []byte) error {
	if string(document) != "good" {
		return errors.New("E_TRUST: not good")
	}
	return nil
}

func (h *handler) Watch(ctx context.Context, _ Hello, send func(List) error) error {
	if h.watch != nil {
		return h.watch(ctx, send)
	}
	if err := send(List{Full: true}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// instance is a Server on loopback with one TCP and one QUIC address, and a relay's behind which the Dialers of tests reach
// it, too.
type instance struct {
	*Server
	*handler
	id              *Identity
	tcp, quic, node ma.Multiaddr
	tcpConns        *countingListener
}

func (i *instance) target(addrs ...ma.Multiaddr) Target {
	if addrs == nil {
		addrs = []ma.Multiaddr{i.tcp, i.quic}
	}
	return Target{Peer: i.id.Peer(), Addrs: addrs}
}

func (i *instance) addr(path string) ma.Multiaddr {
	return map[string]ma.Multiaddr{TCP: i.tcp, QUIC: i.quic, LIBP2P: i.node}[path]
}

// nodes are the TCP addresses, by the relay's, where an instance takes what stands for streams of a libp2p node.
var nodes sync.Map

// dialNode is DialerConfig.DialNode.
func dialNode(ctx context.Context, _ peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	at, ok := nodes.Load(circuit.String())
	if !ok {
		return nil, errors.New("nobody is known there")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", at.(string))
}

// circuit is the address of a relay on loopback.
func circuit(t testing.TB) ma.Multiaddr {
	t.Helper()
	return ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1/p2p/" + newIdentity(t).Peer().String() + "/p2p-circuit")
}

type countingListener struct {
	net.Listener
	n atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// serve starts an instance on loopback; change may adapt its configuration.
func serve(t testing.TB, h *handler, change ...func(*ServerConfig)) *instance {
	t.Helper()
	cfg := ServerConfig{Identity: newIdentity(t), Handler: h}
	for _, f := range change {
		f(&cfg)
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{Server: s, handler: h, id: cfg.Identity, tcpConns: &countingListener{Listener: ln}}
	i.tcp = tcpAddr(t, ln.Addr())
	s.ServeTCP(i.tcpConns)
	qln, addr := listenQUIC(t, cfg.Identity.ServerTLS(), "127.0.0.1:0")
	i.quic = addr
	s.ServeQUIC(qln)
	streams, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i.node = circuit(t)
	nodes.Store(i.node.String(), streams.Addr().String())
	s.ServeNode(streams)
	t.Cleanup(func() { s.Close() })
	return i
}

func tcpAddr(t testing.TB, a net.Addr) ma.Multiaddr {
	t.Helper()
	m, err := manet.FromNetAddr(a)
	if err != nil {
		t.Fatal(err)
	}
	return m.Encapsulate(ma.StringCast("/tls"))
}

func quicAddr(t testing.TB, a net.Addr) ma.Multiaddr {
	t.Helper()
	m, err := manet.FromNetAddr(a)
	if err != nil {
		t.Fatal(err)
	}
	return m.Encapsulate(ma.StringCast("/quic-v1"))
}

// listenQUIC listens as libp2p's connection manager does. The socket is closed with the listener's last user.
func listenQUIC(t testing.TB, conf *tls.Config, addr string) (*quic.Listener, ma.Multiaddr) {
	t.Helper()
	c, err := net.ListenPacket("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: c}
	ln, err := tr.Listen(conf, &quic.Config{MaxIncomingStreams: 256, KeepAlivePeriod: 15 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(); c.Close() })
	return ln, quicAddr(t, c.LocalAddr())
}

func newDialer(t testing.TB, change ...func(*DialerConfig)) *Dialer {
	t.Helper()
	cfg := DialerConfig{Budget: NewBudget(), DialNode: dialNode}
	for _, f := range change {
		f(&cfg)
	}
	d, err := NewDialer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func withTimeout(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// onEach runs a test on each transport, with an address of that one alone.
func onEach(t *testing.T, f func(t *testing.T, path string)) {
	for _, path := range []string{TCP, QUIC, LIBP2P} {
		t.Run(path, func(t *testing.T) { f(t, path) })
	}
}

func open(t testing.TB, d *Dialer, to Target) *Conn {
	t.Helper()
	c, err := d.Open(withTimeout(t, 10*time.Second), to, hello)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func echo(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("echo of %q: %q, %v", text, got, err)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came about: %s", what)
		}
	}
}
