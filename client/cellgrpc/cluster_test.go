package cellgrpc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// theCell lies in a repository that cannot be read: the seeds that a test registers have to suffice.
var (
	theCell = manifest.Cell{Repository: "file:/nonexistent/cells/choice", Tag: "v1.0.0"}
	commit  = strings.Repeat("c0", 20)
)

// node is an instance of the cell that serves gRPC, in this process.
type node struct {
	*overlay.Node
	instance *overlay.Instance
	server   *grpc.Server
	served   chan struct{}
}

// serve starts an instance whose every method is handled so, and that knows the others.
func serve(handle grpc.StreamHandler, known []manifest.Seed) (*node, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	n := &node{server: grpc.NewServer(grpc.UnknownServiceHandler(handle)), served: make(chan struct{})}
	if n.Node, err = overlay.New(context.Background(), overlay.Config{Key: key, NoDHT: true, Listen: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls"),
	}}); err != nil {
		return nil, err
	}
	l, err := n.Listen(context.Background(), overlay.Service{Cell: theCell, Commit: commit})
	if err != nil {
		return nil, err
	}
	n.instance = l.Instance
	go func() { n.server.Serve(l); close(n.served) }()
	n.instance.Meet(known)
	return n, nil
}

func (n *node) seed() manifest.Seed {
	return manifest.Seed{Peer: n.ID(), Addrs: n.instance.Record().Addrs}
}

// leave ends the instance as cellnode run does: goodbye, the calls in hand, the end. An error says that nobody has confirmed
// the goodbye in time, which on a busy machine happens; no call may fail for that either.
func (n *node) leave(ctx context.Context) (goodbye error) {
	goodbye = n.instance.Leave(ctx)
	n.server.GracefulStop()
	return errors.Join(goodbye, n.close())
}

func (n *node) close() error {
	n.server.Stop()
	<-n.served
	return n.Close()
}

// answers answers each value with itself.
func answers(_ any, s grpc.ServerStream) error {
	var q wrapperspb.StringValue
	if err := s.RecvMsg(&q); err != nil {
		return err
	}
	return s.SendMsg(&q)
}

// dialCell returns a connection to the cell by a client of its own that knows these seeds.
func dialCell(t testing.TB, seeds []manifest.Seed, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := NewClientOf(newClient(t, seeds), "choice", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	if _, err := invoke(within(t), cc, buyMethod, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return cc
}

func newClient(t testing.TB, seeds []manifest.Seed) *client.Client {
	t.Helper()
	dir := t.TempDir()
	toml := fmt.Sprintf("[cell.choice]\ngit = %q\ntag = %q\n[cell.choice.policy]\nallow_open = true\n", theCell.URL(), theCell.Tag)
	lock := manifest.Lock{Cells: []manifest.LockedCell{{Name: "choice", Cell: theCell, Git: theCell.URL(), Commit: commit, Seeds: seeds}}}
	text, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{"Cell.toml": []byte(toml), "Cell.lock": text} {
		if err := os.WriteFile(dir+"/"+file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	home, err := os.MkdirTemp("", "c") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Dir: dir, Home: home})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(home)
	})
	return c
}

// instanceEnv makes this test binary an instance: its value is the JSON of the seeds that it is told.
const instanceEnv = "CELLGRPC_TEST_INSTANCE"

// runInstance serves until its standard input ends.
func runInstance(known string) error {
	var infos []peer.AddrInfo
	if err := json.Unmarshal([]byte(known), &infos); err != nil {
		return err
	}
	var seeds []manifest.Seed
	for _, i := range infos {
		seeds = append(seeds, manifest.Seed{Peer: i.ID, Addrs: i.Addrs})
	}
	n, err := serve(answers, seeds)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(info(n.seed())); err != nil {
		return err
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return n.close()
}

// info is a seed in a form that JSON knows.
func info(s manifest.Seed) peer.AddrInfo { return peer.AddrInfo{ID: s.Peer, Addrs: s.Addrs} }

// startProcess starts an instance in a process of its own.
func startProcess(t *testing.T, known ...manifest.Seed) (*os.Process, manifest.Seed) {
	t.Helper()
	var infos []peer.AddrInfo
	for _, s := range known {
		infos = append(infos, info(s))
	}
	told, err := json.Marshal(infos)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), instanceEnv+"="+string(told))
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // a killed one says so
	})
	var at peer.AddrInfo
	if err := json.NewDecoder(stdout).Decode(&at); err != nil {
		t.Fatal(err)
	}
	return cmd.Process, manifest.Seed{Peer: at.ID, Addrs: at.Addrs}
}

// callers makes calls from so many goroutines until stop, and counts them and those that fail.
type callers struct {
	cc     *grpc.ClientConn
	method string
	stopIt chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex
	calls  int
	failed []error
}

func startCallers(cc *grpc.ClientConn, n int, method string) *callers {
	c := &callers{cc: cc, method: method, stopIt: make(chan struct{})}
	for range n {
		c.wg.Go(c.run)
	}
	return c
}

func (c *callers) run() {
	for {
		select {
		case <-c.stopIt:
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		var reply wrapperspb.StringValue
		err := c.cc.Invoke(ctx, c.method, wrapperspb.String("x"), &reply)
		cancel()
		c.mu.Lock()
		c.calls++
		if err != nil {
			c.failed = append(c.failed, err)
		}
		c.mu.Unlock()
	}
}

func (c *callers) made() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

func (c *callers) stop() (calls int, failed []error) {
	close(c.stopIt)
	c.wg.Wait()
	return c.calls, c.failed
}

// more waits until so many more calls have been made.
func (c *callers) more(t testing.TB, n int) {
	t.Helper()
	target := c.made() + n
	eventually(t, "calls go on", func() bool { return c.made() >= target })
}
