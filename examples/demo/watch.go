package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/testnet"
)

// watchers note what every node of the network, and the consumer, hold for live, and since when.
type watchers struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	views   map[string]*view
	changed chan struct{}
}

// view is what one of them holds for live: peer → serving since.
type view struct {
	serving map[string]bool
	ended   bool
}

func newWatchers() *watchers {
	ctx, cancel := context.WithCancel(context.Background())
	return &watchers{ctx: ctx, cancel: cancel, views: map[string]*view{}, changed: make(chan struct{})}
}

func (w *watchers) end() {
	w.cancel()
	w.wg.Wait()
}

// node follows a node through its API, as `cellnode find --watch` does.
func (w *watchers) node(n testnet.Node, q daemon.Query) {
	name := fmt.Sprintf("node %d", n.Index)
	w.wg.Go(func() {
		c := n.Client()
		defer c.Close()
		_ = c.Watch(w.ctx, q, func(r daemon.Reply) error { // it ends with an error, however it ends
			serving := map[string]bool{}
			for _, i := range r.Instances {
				serving[i.Peer] = i.State == record.Serving.String()
			}
			w.saw(name, serving, false)
			return nil
		})
		w.saw(name, nil, true)
	})
}

// consumer follows what the client library knows.
func (w *watchers) consumer(c *client.Client, cell string) {
	w.wg.Go(func() {
		_ = c.Watch(w.ctx, cell, func(f client.Found) error { // it ends with an error, however it ends
			serving := map[string]bool{}
			for _, i := range f.Instances {
				serving[i.Peer.String()] = i.Live()
			}
			w.saw("consumer", serving, false)
			return nil
		})
		w.saw("consumer", nil, true)
	})
}

func (w *watchers) saw(name string, serving map[string]bool, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views[name] = &view{serving, ended}
	close(w.changed)
	w.changed = make(chan struct{})
}

// all waits until every view that goes on holds the peer for serving, or none does, and returns how long after since
// the last of them did, and who that was.
func (w *watchers) all(ctx context.Context, peer string, serving bool, since time.Time) (took time.Duration, last string, err error) {
	for {
		w.mu.Lock()
		var missing []string
		for name, v := range w.views {
			if !v.ended && v.serving[peer] != serving {
				missing = append(missing, name)
			}
		}
		changed := w.changed
		w.mu.Unlock()
		if len(missing) == 0 {
			return time.Since(since), last, nil
		}
		slices.Sort(missing)
		last = missing[len(missing)-1]
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, "", fmt.Errorf("%v still hold %s for serving=%v: %w", missing, peer, !serving, ctx.Err())
		}
	}
}

// command asks a node as a person would: `cellnode find CELL --json` with the node's CELL_HOME.
func (d *demo) command(ctx context.Context, n testnet.Node) (daemon.Reply, error) {
	cmd := exec.CommandContext(ctx, d.binary, "find", "--json", d.url+"@"+tag)
	cmd.Env = append(os.Environ(), "CELL_HOME="+n.Home, "CELL_DAEMON="+n.API)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(out) == 0 {
		return daemon.Reply{}, fmt.Errorf("find at node %d: %w: %s", n.Index, err, exit.Stderr)
	}
	var r daemon.Reply
	return r, json.Unmarshal(out, &r)
}

// confirm asks `cellnode find --json` at every node for the whole list.
func (d *demo) confirm(ctx context.Context, want []string) error {
	slices.Sort(want)
	for _, n := range d.net.Running() {
		r, err := d.command(ctx, n)
		if err != nil {
			return err
		}
		var got []string
		for _, i := range r.Instances {
			if i.State == record.Serving.String() {
				got = append(got, i.Peer)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("find --json at node %d lists %v, want %v", n.Index, got, want)
		}
	}
	d.say("find --json says the same at all %d nodes: %d serving", len(d.net.Running()), len(want))
	return nil
}
