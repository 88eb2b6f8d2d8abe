//go:build !windows

package sidecar

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/link"
)

var killings = flag.Int("kills", 12, "how often TestKilledProxiesNeverCutAStreamUnseen kills the proxy")

// What the test of kills moves: each stream is of some size up to maxFlow bytes, in both directions at once.
const (
	maxFlow   = 4 << 20
	flowBlock = 16 << 10
	workers   = 8
)

// flow are the bytes of one stream in one direction: a sequence that each end makes by itself from its number, so that any
// byte that is missing, doubled or out of its place is seen.
type flow struct{ rnd *rand.ChaCha8 }

func newFlow(number uint64, back bool) flow {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], number)
	if back {
		seed[31] = 1
	}
	return flow{rand.NewChaCha8(seed)}
}

// send writes n bytes of the flow and ends the direction.
func (f flow) send(c net.Conn, n int) error {
	block := make([]byte, flowBlock)
	for n > 0 {
		part := block[:min(n, flowBlock)]
		f.fill(part)
		if _, err := c.Write(part); err != nil {
			return err
		}
		n -= len(part)
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

// fill makes the next bytes; both ends ask for them in blocks of flowBlock.
func (f flow) fill(b []byte) { _, _ = f.rnd.Read(b) }

// What must never happen.
var (
	errFlow  = errors.New("the stream is not what was sent")
	errEarly = fmt.Errorf("%w: a clean end came early", errFlow)
)

// receive reads until the end, which must come behind n bytes of the flow and nowhere else. moved counts them.
func (f flow) receive(c io.Reader, n int, moved *atomic.Int64) error {
	want, got := make([]byte, flowBlock), make([]byte, flowBlock)
	for n > 0 {
		part := min(n, flowBlock)
		f.fill(want[:part])
		m, err := io.ReadFull(c, got[:part])
		moved.Add(int64(m))
		switch {
		case !slices.Equal(got[:m], want[:m]):
			return fmt.Errorf("%w: other bytes, %d before the end", errFlow, n)
		case err == io.EOF || err == io.ErrUnexpectedEOF: // of ReadFull itself: the connection's errors are other values
			return fmt.Errorf("%w, by %d bytes", errEarly, n-m)
		case err != nil:
			return err
		}
		n -= part
	}
	switch m, err := c.Read(got[:1]); {
	case m > 0:
		return fmt.Errorf("%w: more bytes than were sent", errFlow)
	case err != io.EOF:
		return err
	}
	return nil
}

// A flowService sends and receives flows. What comes in over TCP is held to the same as what goes out.
type flowService struct {
	t     *testing.T
	ln    net.Listener
	wg    sync.WaitGroup
	moved atomic.Int64
	cut   atomic.Int64
}

func (s *flowService) run() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *flowService) serve(c net.Conn) {
	defer c.Close()
	var head [16]byte // the stream's number and its size
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return // a health check, or a client whose proxy died at once
	}
	number, size := binary.BigEndian.Uint64(head[:8]), int(binary.BigEndian.Uint64(head[8:]))
	sent := make(chan error, 1)
	go func() { sent <- newFlow(number, true).send(c, size) }()
	received := newFlow(number, false).receive(c, size, &s.moved)
	if received != nil && !errors.Is(received, errEarly) {
		c.Close()
	}
	unsent := <-sent
	switch {
	// The kernel tells a reset once, to the reader or to the writer.
	case errors.Is(received, errFlow) && !(errors.Is(received, errEarly) && unsent != nil):
		s.t.Errorf("at the service: %v", received)
	case received != nil:
		s.cut.Add(1)
	}
}

// proxy is the sidecar that is killed, as a process of its own.
type proxy struct {
	cmd  *exec.Cmd
	life io.WriteCloser // its end is the process's
	addr struct {
		peer   peer.ID
		listen []ma.Multiaddr
	}
}

// roleProxy is the process: it says who it is and where it listens, and runs until it is killed, or whoever started it ends.
func roleProxy() {
	dir, err := home.At(os.Getenv("CELL_HOME"))
	if err != nil {
		panic(err)
	}
	s, err := Start(context.Background(), Config{Instance: plainInstance(), Upstream: os.Getenv("PROXY_UPSTREAM"), Home: dir})
	if err != nil {
		panic(err)
	}
	line := []string{s.Node().ID().String()}
	for _, a := range s.Node().Listening() {
		line = append(line, a.String())
	}
	fmt.Println(strings.Join(line, " "))
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is what matters
	os.Exit(0)
}

func startProxy(t *testing.T, dir *home.Dir, upstream string, listen []ma.Multiaddr) *proxy {
	t.Helper()
	var err error
	p := &proxy{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), "SIDECAR_TEST_ROLE=proxy", "CELL_HOME="+dir.Path(), "PROXY_UPSTREAM="+upstream)
	if listen != nil { // the same again: clients know no other
		var list []string
		for _, a := range listen {
			list = append(list, a.String())
		}
		p.cmd.Env = append(p.cmd.Env, "CELL_LISTEN="+strings.Join(list, ","))
	}
	p.cmd.Stderr = os.Stderr
	if p.life, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the proxy says nothing: %v", errors.Join(err, p.kill()))
	}
	words := strings.Fields(line)
	if p.addr.peer, err = peer.Decode(words[0]); err != nil {
		t.Fatal(err)
	}
	for _, w := range words[1:] {
		p.addr.listen = append(p.addr.listen, ma.StringCast(w))
	}
	return p
}

func (p *proxy) kill() error {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed: that is no news
	return nil
}

// Proxies are killed at random moments under load, over TCP and over QUIC. Whatever a client or the service receives is, from
// the first byte on, what the other end sent; and it ends either behind the last byte or in an error.
func TestKilledProxiesNeverCutAStreamUnseen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &flowService{t: t, ln: ln}
	service.wg.Go(service.run)
	dir, upstream := newHome(t), "tcp:"+ln.Addr().String()
	p := startProxy(t, dir, upstream, nil)
	ctx, cancel := context.WithCancel(t.Context())
	load := &flowLoad{t: t, to: link.Target{Peer: p.addr.peer, Addrs: p.addr.listen, Trusted: true}}
	for n := range workers {
		load.wg.Go(func() { load.work(ctx, n) })
	}
	for range *killings {
		load.await(rand.Int64N(workers * maxFlow / 2))
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		p = startProxy(t, dir, upstream, p.addr.listen)
	}
	whole := load.whole.Load()
	until(t, "streams get through after the last kill", func() bool { return load.whole.Load() > whole })
	cancel()
	load.wg.Wait()
	p.kill()
	ln.Close()
	service.wg.Wait()
	t.Logf("%d kills; streams: %d whole, %d cut with an error here, %d there; %d MB", *killings, load.whole.Load(), load.cut.Load(), service.cut.Load(), load.moved.Load()>>20)
	if load.cut.Load() == 0 || service.cut.Load() == 0 {
		t.Error("no kill met a stream")
	}
}

// flowLoad are clients.
type flowLoad struct {
	t          *testing.T
	to         link.Target
	wg         sync.WaitGroup
	number     atomic.Uint64
	moved      atomic.Int64
	whole, cut atomic.Int64
}

// await returns when this many more bytes have come.
func (l *flowLoad) await(more int64) {
	l.t.Helper()
	begun := l.moved.Load()
	until(l.t, "the load moves on", func() bool { return l.moved.Load()-begun >= more })
}

// work makes one stream after the other, every second worker over QUIC.
func (l *flowLoad) work(ctx context.Context, n int) {
	d, err := link.NewDialer(link.DialerConfig{NoTCP: n%2 == 0, NoQUIC: n%2 == 1, Budget: link.NewBudget()})
	if err != nil {
		l.t.Error(err)
		return
	}
	defer d.Close()
	for ctx.Err() == nil {
		c, err := d.Open(ctx, l.to, link.Hello{Cell: plainInstance().Cell.ID()})
		if err != nil {
			if !pause(ctx, 10*time.Millisecond) {
				return
			}
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Reset() })
		err = l.stream(c)
		stop()
		c.Close()
		switch {
		case errors.Is(err, errFlow):
			l.t.Errorf("at the client, over %s: %v", c.Path(), err)
			return
		case err != nil && ctx.Err() == nil:
			l.cut.Add(1)
		case err == nil:
			l.whole.Add(1)
		}
	}
}

func (l *flowLoad) stream(c *link.Conn) error {
	number, size := l.number.Add(1), 1+rand.IntN(maxFlow)
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, number), uint64(size))
	if _, err := c.Write(head); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- newFlow(number, false).send(c, size) }()
	err := newFlow(number, true).receive(c, size, &l.moved)
	if err != nil {
		c.Reset() // or the sender would wait for a reader
	}
	return errors.Join(err, <-sent)
}

// pause reports whether ctx goes on after d.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
