package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/testnet"
)

// withoutGit takes the git host away and every instance that a file names, and lets a client that has never run find
// the cell by one entry point.
func (d *demo) withoutGit(ctx context.Context) error {
	d.stopGit()
	if err := os.RemoveAll(filepath.Join(d.dir, "git")); err != nil {
		return err
	}
	lock, err := os.ReadFile(filepath.Join(d.consumer, "Cell.lock"))
	if err != nil {
		return err
	}
	if _, err := d.net.Add(ctx, testnet.Spec{Repository: d.work, Tag: tag}); err != nil {
		return err
	}
	for _, n := range d.instances() {
		if bytes.Contains(lock, []byte(n.Peer)) {
			if err := d.net.Kill(n.Index); err != nil {
				return err
			}
		}
	}
	d.say("the git host is gone; every instance that Cell.lock and the seed list name is dead; %d others live", len(d.instances()))
	home := filepath.Join(d.dir, "fresh")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	entry := d.net.Running()[0]
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(fmt.Sprintf("bootstrap = [%q]\nmdns = false\n", entry.Bootstrap())), 0o600); err != nil {
		return err
	}
	c, err := client.New(client.Config{Dir: d.consumer, Home: home})
	if err != nil {
		return err
	}
	defer c.Close()
	start := time.Now()
	if err := callOnce(ctx, func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, "exchange") }); err != nil {
		return err
	}
	d.say("a client with an empty home and one entry point has its answer in %.0f ms", float64(time.Since(start))/float64(time.Millisecond))
	return d.trace(ctx, c)
}

// trace prints what each way brought; the DHT must have been one of them.
func (d *demo) trace(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	found, err := c.Settle(ctx, "exchange")
	if err != nil {
		return err
	}
	byDHT := false
	for _, w := range found.Ways {
		d.say("  %s", w)
	}
	for _, i := range found.Instances {
		d.say("  %s from %s", i.Peer, strings.Join(i.Sources, ","))
		byDHT = byDHT || slices.Contains(i.Sources, find.DHT)
	}
	if !byDHT {
		return errors.New("the trace does not show dht")
	}
	return nil
}

// oneTransport lets a client without a node of its own find, list and dial an instance that can be reached by UDP
// only, and then one that can be reached by TCP only.
func (d *demo) oneTransport(ctx context.Context) error {
	for _, t := range []struct{ path, listen string }{
		{"quic", "/ip4/127.0.0.1/udp/0/quic-v1"},
		{"tcp", "/ip4/127.0.0.1/tcp/0/tls"},
	} {
		n, err := d.net.Add(ctx, testnet.Spec{Repository: d.work, Tag: tag, Listen: []string{t.listen}})
		if err != nil {
			return err
		}
		if err := d.met(ctx, n); err != nil {
			return err
		}
		if err := d.thinClient(ctx, n, t.path); err != nil {
			return fmt.Errorf("an instance that listens on %s alone: %w", t.listen, err)
		}
	}
	return nil
}

// met waits until an instance knows others of its cell: from then on it can be asked for a list.
func (d *demo) met(ctx context.Context, n testnet.Node) error {
	return until(ctx, fmt.Sprintf("node %d has not met the others", n.Index), func() bool {
		s, err := d.status(ctx, n)
		return err == nil && len(s.Instances) == 1 && s.Instances[0].Members > 1
	})
}

func (d *demo) thinClient(ctx context.Context, n testnet.Node, path string) error {
	seeds, err := seedsOf([]testnet.Node{n})
	if err != nil {
		return err
	}
	dir := filepath.Join(d.dir, "thin-"+path)
	if err := d.writeConsumer(dir, seeds); err != nil {
		return err
	}
	c, err := client.New(client.Config{Dir: dir, Home: filepath.Join(dir, "home"), Only: []string{find.Seed, find.List}})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	found, err := c.Settle(ctx, "exchange")
	if err != nil {
		return err
	}
	at := slices.IndexFunc(found.Instances, func(i find.Instance) bool { return i.Peer.String() == n.Peer })
	switch {
	case at < 0:
		return fmt.Errorf("it is not found: %v", found.Refused)
	case found.Instances[at].Path != path:
		return fmt.Errorf("it is reached by %s", found.Instances[at].Path)
	case len(found.Instances) < 2:
		return errors.New("its list names nobody else")
	}
	if err := d.callPeer(ctx, c, n.Peer); err != nil {
		return err
	}
	d.say("a thin client finds node %d by its seed, reaches it by %s, gets a list of %d from it, and its call is answered", n.Index, path, len(found.Instances))
	return nil
}
