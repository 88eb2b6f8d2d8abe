package gossip

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/record"
)

// childEnv makes the test binary one instance: its value is the address to join, or "-" for none.
const childEnv = "GOSSIP_TEST_JOIN"

// runChild gossips until it is killed. It prints its address, then the number of members after each change.
func runChild(join string) error {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return err
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.DisableMetrics(), libp2p.DisableRelay())
	if err != nil {
		return err
	}
	now := time.Now()
	rec, err := record.Sign(key, record.Instance{
		Cell: testCell, Incarnation: uint64(now.UnixMilli()), Seq: 1, State: record.Serving,
		Addrs: h.Addrs(), Issued: now, Expires: now.Add(record.Validity),
	})
	if err != nil {
		return err
	}
	g, err := New(context.Background(), Config{Host: h, Cell: testCell, Record: rec, Profile: LAN()})
	if err != nil {
		return err
	}
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	if join != "-" {
		info, err := peer.AddrInfoFromString(join)
		if err != nil {
			return err
		}
		g.Join([]peer.AddrInfo{*info})
	}
	return g.Watch(context.Background(), func([]Event) { fmt.Println(len(g.Members())) })
}

// process is a child, and how many members it listed last.
type process struct {
	cmd     *exec.Cmd
	addr    string
	members atomic.Int64
}

func startProcess(t *testing.T, wg *sync.WaitGroup, join string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), childEnv+"="+join)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	lines := bufio.NewReader(out)
	if _, err := fmt.Fscanln(lines, &p.addr); err != nil {
		t.Fatal(err)
	}
	if _, err := ma.NewMultiaddr(p.addr); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { p.follow(lines) })
	return p
}

func (p *process) follow(lines io.Reader) {
	for {
		var n int64
		if _, err := fmt.Fscanln(lines, &n); err != nil {
			return
		}
		p.members.Store(n)
	}
}

// kill is kill -9.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// TestKillNineIsNoticedWithinFiveSeconds runs eight real processes on loopback and kills one after the other.
func TestKillNineIsNoticedWithinFiveSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes and real time")
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	processes := []*process{startProcess(t, &wg, "-")}
	for range 7 {
		processes = append(processes, startProcess(t, &wg, processes[0].addr))
	}
	agreed := func() bool {
		for _, p := range processes {
			if p.members.Load() != int64(len(processes)) {
				return false
			}
		}
		return true
	}
	await(t, 20*time.Second, "all know all", agreed)
	var took []time.Duration
	for range 2 {
		time.Sleep(time.Second + time.Duration(mathrand.Int64N(int64(time.Second)))) //allow:sleep a kill shall fall at any moment of a probe period
		processes[0].kill()
		processes = processes[1:]
		// Three seconds on a quiet machine; other tests run beside this one.
		took = append(took, await(t, 15*time.Second, "the killed one is gone everywhere", agreed))
	}
	t.Logf("p50 %s max %s", quantile(took, 0.5), quantile(took, 1))
}
