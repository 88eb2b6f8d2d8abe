package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cellnode/cellnode/testnet"
)

// use is a steady use of the network: finds and connections, through one node after the other at random.
type use struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	done   int
	failed error // the first failure
}

// begin starts so many uses a second; with none it does nothing.
func begin(ctx context.Context, nodes []testnet.Node, perSecond float64) *use {
	ctx, cancel := context.WithCancel(ctx)
	u := &use{cancel: cancel}
	if perSecond <= 0 {
		return u
	}
	u.wg.Go(func() {
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := connect(ctx, nodes[rand.IntN(len(nodes))], cellOf(nodes))
			if ctx.Err() != nil {
				return
			}
			u.mu.Lock()
			u.done++
			if u.failed == nil {
				u.failed = err
			}
			u.mu.Unlock()
		}
	})
	return u
}

func (u *use) end() {
	u.cancel()
	u.wg.Wait()
}

func (u *use) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done
}

func (u *use) err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// cellOf is the cell that the network serves.
func cellOf(nodes []testnet.Node) string {
	for _, n := range nodes {
		if n.Cell != "" {
			return n.Cell
		}
	}
	return ""
}

// connect has a node find the cell and connect to the nearest instance, as a thin client does.
func connect(ctx context.Context, n testnet.Node, cell string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", n.API)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "CONNECT /v1/connect?cell=%s HTTP/1.1\r\nHost: node\r\n\r\n", url.QueryEscape(cell)) // an error shows in the answer
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("node %d: %w", n.Index, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("node %d: connect: %s", n.Index, answer.Status)
	}
	return nil
}
