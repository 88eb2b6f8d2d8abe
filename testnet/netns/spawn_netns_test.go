//go:build linux && netns

package netns

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cellnode/cellnode/testnet"
)

// The one instance is farther than the consumer's policy allows, comes near, and is far again.
func TestNetnsAFarCellIsStartedHereUntilOneIsNear(t *testing.T) {
	const (
		limit = 200 * time.Millisecond
		far   = 150 * time.Millisecond // one way
		near  = 25 * time.Millisecond
	)
	l := newLab(t)
	l.cell = echoCell(t, "") // it has no other home than where it lies, so that it can be fetched from there
	n := l.network("a")
	remote := l.instance(n, l.host("10.1.0.1/16"), testnet.Spec{})
	l.wire.SetWeather(Weather{MinDelay: far, MaxDelay: far})
	c := l.consumer(l.host("10.1.9.1/16"), remote.Bootstrap())
	policy := fmt.Sprintf("[cell.echo]\ngit = %q\ntag = %q\n[cell.echo.policy]\nauto_spawn = true\nmax_latency_ms = %d\nallow_open = true\nsandbox = \"none\"\n", l.cell, cellTag, limit.Milliseconds())
	if err := os.WriteFile(filepath.Join(c.home, "Cell.toml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	c.daemon = filepath.Join(c.home, "run", "cellnode.sock")
	c.start(t, "daemon", "start", "--foreground")
	c.connect(c.daemon).Close()
	socket := filepath.Join(c.home, "f.sock")
	c.start(t, "forward", "echo", "unix:"+socket)

	// Whoever calls tells the two by how long an answer takes.
	var took time.Duration
	answers := func(least, most time.Duration) func() bool {
		return func() bool {
			took = c.echo(socket)
			return took >= least && took < most
		}
	}
	state := func() string { return fmt.Sprintf("the last call took %s", took) }
	l.await(20*time.Second, "the far one answers", answers(2*far, 5*time.Second), state)
	t.Logf("far: answered from here after %s", l.await(5*time.Minute, "it is built and started here", answers(0, near), state))
	l.wire.SetWeather(Weather{MinDelay: near, MaxDelay: near})
	t.Logf("near: answered from there after %s", l.await(time.Minute, "the near one answers", answers(2*near, limit), state))
	l.wire.SetWeather(Weather{MinDelay: far, MaxDelay: far})
	t.Logf("far again: answered from here after %s", l.await(time.Minute, "the one here answers", answers(0, near), state))
}

// echo opens a connection and returns how long an answer on it takes. It fails no test: a call may break while instances
// change.
func (c *consumer) echo(socket string) time.Duration {
	const broken = time.Hour
	conn := c.connect(socket)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var took time.Duration
	for range 2 { // the first waits for the connection behind
		began := time.Now()
		if _, err := conn.Write([]byte("x")); err != nil {
			return broken
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			return broken
		}
		took = time.Since(began)
	}
	return took
}
