package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/manifest"
)

// Limits of asking entry points.
const (
	maxEntries = 16 // asked; more would tell nothing new
	entryWait  = 3 * time.Second
)

// entryPoints is what became of asking them, over each transport by itself.
type entryPoints struct {
	asked    []entryPoint
	skipped  int // beyond maxEntries
	udp, tcp int // that answered
	err      error
}

type entryPoint struct {
	id        peer.ID
	from      string // config.toml, or the cell whose Cell.lock names it
	quic, tcp answer
}

type answer struct {
	took time.Duration
	err  error
}

// askEntryPoints asks everybody whom a node would join the network through. Any answer counts that only the peer itself
// can give: that it does not serve the cell is one.
func askEntryPoints(ctx context.Context, m *machine) (e entryPoints) {
	points := m.entryPoints()
	if len(points) > maxEntries {
		e.skipped, points = len(points)-maxEntries, points[:maxEntries]
	}
	quic, err := link.NewDialer(link.DialerConfig{NoTCP: true, Log: m.Log})
	if err != nil {
		e.err = err
		return e
	}
	defer quic.Close()
	tcp, err := link.NewDialer(link.DialerConfig{NoQUIC: true, Log: m.Log})
	if err != nil {
		e.err = err
		return e
	}
	defer tcp.Close()
	ctx, cancel := context.WithTimeout(ctx, entryWait)
	defer cancel()
	e.asked = make([]entryPoint, len(points))
	var wg sync.WaitGroup
	for n, p := range points {
		e.asked[n] = entryPoint{id: p.Peer, from: p.from}
		wg.Go(func() { e.asked[n].quic = ask(ctx, quic, p.Target) })
		wg.Go(func() { e.asked[n].tcp = ask(ctx, tcp, p.Target) })
	}
	wg.Wait()
	for _, p := range e.asked {
		if p.quic.err == nil {
			e.udp++
		}
		if p.tcp.err == nil {
			e.tcp++
		}
	}
	return e
}

func ask(ctx context.Context, d *link.Dialer, to link.Target) (a answer) {
	begun := time.Now()
	p, err := d.Probe(ctx, to, link.Hello{Cell: nobody.ID()})
	a.took, a.err = time.Since(begun), err
	var refused *link.Refused
	if errors.As(err, &refused) {
		a.err = nil
	}
	if err == nil {
		a.took = p.RTT
	}
	return a
}

// nobody is a cell that nobody serves.
var nobody = func() manifest.Cell {
	c, err := manifest.NewCell("https://cellnode.invalid/doctor", "v0")
	if err != nil {
		panic(err)
	}
	return c
}()

type target struct {
	link.Target
	from string
}

// entryPoints are the peers that the settings and the files here name, each once.
func (m *machine) entryPoints() []target {
	var list []target
	seen := map[peer.ID]bool{}
	add := func(from string, info peer.AddrInfo) {
		if !seen[info.ID] && len(info.Addrs) > 0 {
			seen[info.ID] = true
			list = append(list, target{link.Target{Peer: info.ID, Addrs: info.Addrs, Trusted: true}, from})
		}
	}
	for _, info := range m.Config.Config.Peers() {
		add("bootstrap", info)
	}
	for _, c := range m.cells().resolved {
		if c.Locked == nil {
			continue
		}
		for _, s := range c.Locked.Seeds {
			add("the seeds of "+c.Name, peer.AddrInfo{ID: s.Peer, Addrs: s.Addrs})
		}
	}
	return list
}

func entries(_ context.Context, m *machine) []Finding {
	e := m.entry()
	if e.err != nil {
		return []Finding{finding(Error, oneLine(e.err), "")}
	}
	if m.Config.Config.DHT == home.DHTAmino {
		return []Finding{finding(Unknown, "dht = \"amino\": the public network has entry points of its own, which are not asked here", "")}
	}
	if len(e.asked) == 0 {
		return []Finding{finding(Warning, "no entry point is named: this machine meets others by mDNS, seed lists of git and its cache alone",
			"name a node that runs: bootstrap = [\"/ip4/ADDR/udp/40000/quic-v1/p2p/PEER\"] in config.toml, or CELL_BOOTSTRAP")}
	}
	var list []Finding
	for _, p := range e.asked {
		list = append(list, p.finding())
	}
	if e.skipped > 0 {
		list = append(list, finding(Unknown, fmt.Sprintf("%d further entry points were not asked", e.skipped), ""))
	}
	return list
}

func (p entryPoint) finding() Finding {
	name := fmt.Sprintf("entry point %s (%s)", p.id, p.from)
	took := func(a answer) string { return a.took.Round(10 * time.Microsecond).String() }
	switch {
	case p.quic.err == nil && p.tcp.err == nil:
		return finding(OK, fmt.Sprintf("%s answers: %s over UDP, %s over TCP", name, took(p.quic), took(p.tcp)), "")
	case p.quic.err == nil:
		return finding(OK, fmt.Sprintf("%s answers: %s over UDP", name, took(p.quic)), "")
	case p.tcp.err == nil:
		return finding(Warning, fmt.Sprintf("%s answers over TCP (%s) and not over UDP: %s", name, took(p.tcp), oneLine(p.quic.err)),
			"the DHT and gossip need UDP: on its host `sudo ufw allow 40000/udp`")
	case errors.Is(p.quic.err, link.ErrWrongPeer) || errors.Is(p.tcp.err, link.ErrWrongPeer):
		return finding(Error, name+": somebody else answers at its address", "correct bootstrap in config.toml: `cellnode status` there shows the peer ID of the node")
	}
	return finding(Error, fmt.Sprintf("%s does not answer: %s", name, oneLine(p.quic.err)), "is it running? on its host: `cellnode status`, and `sudo ufw allow 40000/udp`")
}
