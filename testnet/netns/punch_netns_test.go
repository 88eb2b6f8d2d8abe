//go:build linux && netns

package netns

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/testnet"
)

// punched is a lab of two homes and a node in the open that both enter by, which serves another cell: an instance in the
// first home, a consumer in the second. There is no way from one home into the other.
type punched struct {
	*lab
	entry    member
	instance member
	consumer *consumer
}

func newPunched(t *testing.T, ours, theirs NAT) *punched {
	t.Helper()
	l := newLab(t)
	l.wire.SetWeather(Weather{MinDelay: 5 * time.Millisecond, MaxDelay: 15 * time.Millisecond})
	n := l.network("a")
	p := &punched{lab: l}
	p.entry = l.bystander(n, l.host("20.0.0.1/8"))
	entry := []string{p.entry.Bootstrap()}
	p.instance = l.instance(n, l.home(theirs, "20.0.1.1/8", "192.168.1.2/24", "192.168.1.1"), testnet.Spec{Entry: entry})
	p.consumer = l.consumer(l.home(ours, "20.0.2.1/8", "192.168.2.2/24", "192.168.2.1"), entry...)
	l.await(15*time.Second, "the instance's record names a relay", func() bool {
		return slices.ContainsFunc(l.addrs(p.instance), func(a string) bool { return strings.HasSuffix(a, "/p2p-circuit") })
	}, func() string { return "it names " + join(l.addrs(p.instance)) })
	return p
}

func TestNetnsTwoHomesTalkThroughBothNATs(t *testing.T) {
	l := newPunched(t, SamePort, SamePort)
	began := time.Now()
	reply, code := l.consumer.find(cellName)
	took := time.Since(began)
	if code != 0 || !slices.Equal(replied(reply), []string{l.instance.Peer}) || reply.Instances[0].Path != "libp2p" {
		t.Fatalf("find ended with %d and prints %+v", code, reply)
	}
	t.Logf("found after %s, %v ms away", took.Round(time.Millisecond), reply.Instances[0].RTTMillis)
	if took > 3*time.Second {
		t.Errorf("a direct path took %s", took)
	}
	for _, embedded := range []bool{true, false} {
		name := map[bool]string{true: "by a node of the consumer's own", false: "by the machine's node"}[embedded]
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { l.carries(t, embedded) })
	}
}

// carries sends 8 MiB to the instance and back and sees that they are whole, and that the relay has not carried them.
func (l *punched) carries(t *testing.T, embedded bool) {
	socket := l.consumer.forward(t, embedded)
	relay := netip.MustParseAddr("20.0.0.1")
	before := l.wire.Bytes(relay)
	conn := l.consumer.connect(socket)
	defer conn.Close()
	began := time.Now()
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	conn.SetDeadline(began.Add(time.Minute))
	go conn.Write(data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(conn, got[:1]); err != nil {
		t.Fatal(err)
	}
	first := time.Since(began)
	if _, err := io.ReadFull(conn, got[1:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("other bytes came back than were sent")
	}
	carried := l.wire.Bytes(relay) - before
	t.Logf("first byte after %s, 8 MiB there and back after %s, while %d KiB went to or from the relay",
		first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), carried>>10)
	if first > 3*time.Second {
		t.Errorf("the first byte came after %s", first)
	}
	if carried > 512<<10 { // the chatter of DHT and gossip is some KiB a second
		t.Errorf("%d bytes went to or from the relay meanwhile", carried)
	}
}

func TestNetnsSymmetricNATsAreUnreachable(t *testing.T) {
	l := newPunched(t, AnyPort, AnyPort)
	relay := netip.MustParseAddr("20.0.0.1")
	before := l.wire.Bytes(relay)
	began := time.Now()
	reply, code := l.consumer.find(cellName)
	took := time.Since(began)
	if code != 1 || len(reply.Instances) != 0 || took > 15*time.Second {
		t.Errorf("find ended with %d after %s and prints %+v", code, took, reply)
	}
	at := slices.IndexFunc(reply.Refused, func(r daemon.Refusal) bool { return r.Peer == l.instance.Peer })
	if at < 0 || reply.Refused[at].Code != "E_UNREACHABLE" || !strings.Contains(reply.Refused[at].Error, "p2p-circuit") {
		t.Fatalf("find says %+v", reply.Refused)
	}
	t.Logf("after %s: %s", took.Round(time.Millisecond), reply.Refused[at].Error)
	carried := l.wire.Bytes(relay) - before
	t.Logf("%d KiB went to or from the relay", carried>>10)
	if carried > 512<<10 {
		t.Errorf("%d bytes went to or from the relay meanwhile", carried)
	}
}

// addrs are those of an instance's own record.
func (l *lab) addrs(m member) []string {
	l.t.Helper()
	for _, known := range l.members(m) {
		if known.Self {
			return known.Addrs
		}
	}
	return nil
}

// bystander is a node that serves another cell.
func (l *lab) bystander(n *testnet.Net, h *Host) member {
	l.t.Helper()
	cell := l.cell
	l.cell = echoCell(l.t, "https://example.org/acme/other")
	defer func() { l.cell = cell }()
	return l.instance(n, h, testnet.Spec{})
}

// forward runs `cellnode forward` until the test ends, and returns the socket that it listens at.
func (c *consumer) forward(t *testing.T, embedded bool) string {
	t.Helper()
	socket := filepath.Join(c.home, fmt.Sprintf("f%t.sock", embedded))
	if !embedded {
		c.daemon = filepath.Join(c.home, "run", "cellnode.sock")
		c.start(t, "daemon", "start", "--foreground")
		c.connect(c.daemon).Close()
	}
	c.start(t, "forward", "--allow-open", cellName, "unix:"+socket)
	return socket
}

// connect connects to a socket as soon as somebody listens there.
func (c *consumer) connect(socket string) (conn net.Conn) {
	c.l.t.Helper()
	var err error
	c.l.await(10*time.Second, "somebody listens at "+socket, func() bool {
		conn, err = net.Dial("unix", socket)
		return err == nil
	}, func() string { return err.Error() })
	return conn
}

// start runs a command until the test ends.
func (c *consumer) start(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], out.String())
		}
	})
}
