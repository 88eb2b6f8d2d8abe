package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/client"
	pb "github.com/cellnode/cellnode/examples/trader/exchange"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/testnet"
)

// What is promised.
const (
	goneWithin   = 5 * time.Second
	leftWithin   = time.Second
	joinedWithin = 2 * time.Second
)

// startNetwork starts the nodes, the last of them with an instance each, and writes their addresses where git and the
// consumer have them.
func (d *demo) startNetwork(ctx context.Context) (err error) {
	start := time.Now()
	d.net, err = testnet.Up(ctx, testnet.Config{
		Publisher: d.signer,
		Dir:       filepath.Join(d.dir, "net"), Binary: d.binary, Nodes: d.nodes,
		Cells: []testnet.Cell{{Repository: d.work, Tag: tag, Instances: d.serving}},
	})
	if err != nil {
		return err
	}
	d.say("%d nodes are up, %d of them serve the cell, announced and read back, in %.1f s", d.nodes, d.serving, time.Since(start).Seconds())
	status, err := d.status(ctx, d.instances()[0])
	if err != nil {
		return err
	}
	d.print = status.Instances[0].Fingerprint
	seeds, err := seedsOf(d.instances())
	if err != nil {
		return err
	}
	if err := d.pushSeeds(ctx, seeds); err != nil {
		return err
	}
	return d.writeConsumer(d.consumer, seeds)
}

func (d *demo) status(ctx context.Context, n testnet.Node) (daemon.Status, error) {
	c := n.Client()
	defer c.Close()
	return c.Status(ctx)
}

// instances returns the running nodes that serve the cell.
func (d *demo) instances() []testnet.Node {
	return slices.DeleteFunc(d.net.Running(), func(n testnet.Node) bool { return n.Cell == "" })
}

func peersOf(nodes []testnet.Node) []string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.Peer)
	}
	return list
}

// meetConsumer lets a consumer find the cell by its name and begin to call it; every node is watched from here on.
func (d *demo) meetConsumer(ctx context.Context) (err error) {
	if d.client, err = client.New(client.Config{Dir: d.consumer, Home: filepath.Join(d.dir, "home")}); err != nil {
		return err
	}
	start := time.Now()
	found, err := d.client.Settle(ctx, "exchange")
	if err != nil {
		return err
	}
	d.say("the consumer finds %d instances in %.0f ms", len(found.Instances), float64(time.Since(start))/float64(time.Millisecond))
	for _, i := range found.Instances {
		d.say("  %s  %s  %s by %s, from %s", i.Peer, i.State, i.RTT.Round(10*time.Microsecond), i.Path, strings.Join(i.Sources, ","))
	}
	if len(found.Instances) != d.serving {
		return fmt.Errorf("the consumer finds %d instances, want %d", len(found.Instances), d.serving)
	}
	d.watchers = newWatchers()
	d.watchers.consumer(d.client, "exchange")
	for _, n := range d.net.Running() {
		d.watchers.node(n, d.query())
	}
	for _, id := range peersOf(d.instances()) {
		if _, _, err := d.watchers.all(ctx, id, true, start); err != nil {
			return err
		}
	}
	if d.load, err = startLoad(d.client, "exchange"); err != nil {
		return err
	}
	return d.moreCalls(ctx)
}

func (d *demo) query() daemon.Query { return daemon.Query{Repository: d.url, Tag: tag} }

// moreCalls waits until calls are answered again.
func (d *demo) moreCalls(ctx context.Context) error {
	want := d.load.count() + 100
	return until(ctx, "no calls are answered", func() bool { return d.load.count() >= want })
}

// kill ends the instance that the consumer calls with SIGKILL.
func (d *demo) kill(ctx context.Context) error {
	victim := d.nearest()
	d.say("kill -9 of node %d, which the consumer is calling", victim.Index)
	start := time.Now()
	if err := d.net.Kill(victim.Index); err != nil {
		return err
	}
	took, last, err := d.watchers.all(ctx, victim.Peer, false, start)
	if err != nil {
		return err
	}
	if err := d.claim("gone at every node and at the consumer after", took, goneWithin); err != nil {
		return fmt.Errorf("%w (the last was %s)", err, last)
	}
	if err := d.moreCalls(ctx); err != nil {
		return err
	}
	return d.confirm(ctx, peersOf(d.instances()))
}

// nearest returns the instance that the consumer's next call goes to.
func (d *demo) nearest() testnet.Node {
	list := d.instances()
	found, _ := d.client.Settle(context.Background(), "exchange")
	for _, i := range found.Instances {
		for _, n := range list {
			if n.Peer == i.Peer.String() {
				return n
			}
		}
	}
	return list[0]
}

// leave ends an instance politely.
func (d *demo) leave(ctx context.Context) error {
	leaver := d.nearest()
	d.say("node %d is asked to leave", leaver.Index)
	start := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- d.net.Stop(leaver.Index, 15*time.Second) }()
	took, _, err := d.watchers.all(ctx, leaver.Peer, false, start)
	if err = errors.Join(err, <-stopped); err != nil {
		return err
	}
	if err := d.claim("left everywhere after", took, leftWithin); err != nil {
		return err
	}
	if err := d.moreCalls(ctx); err != nil {
		return err
	}
	return d.confirm(ctx, peersOf(d.instances()))
}

// join starts a fourth instance.
func (d *demo) join(ctx context.Context) error {
	start := time.Now()
	n, err := d.net.Add(ctx, testnet.Spec{Repository: d.work, Tag: tag})
	if err != nil {
		return err
	}
	took, _, err := d.watchers.all(ctx, n.Peer, true, start)
	if err != nil {
		return err
	}
	if err := d.claim("a fourth instance serves, seen everywhere, after", took, joinedWithin); err != nil {
		return err
	}
	d.watchers.node(n, d.query())
	if err := d.callPeer(ctx, d.client, n.Peer); err != nil {
		return fmt.Errorf("the newcomer does not answer: %w", err)
	}
	return d.confirm(ctx, peersOf(d.instances()))
}

// callPeer makes one call to one instance.
func (d *demo) callPeer(ctx context.Context, c *client.Client, id string) error {
	return callOnce(ctx, func(ctx context.Context) (net.Conn, error) { return c.DialPeer(ctx, "exchange", id) })
}

func callOnce(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cc, err := dialGRPC(dial)
	if err != nil {
		return err
	}
	defer cc.Close()
	_, err = pb.NewExchangeClient(cc).Quote(ctx, &pb.QuoteRequest{Symbol: "ACME"})
	return err
}

// endLoad stops the calls: not one of them may have failed.
func (d *demo) endLoad(context.Context) error {
	d.load.end()
	text, err := d.load.report()
	d.say("%s", text)
	return err
}
