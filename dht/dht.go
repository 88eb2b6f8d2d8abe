package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ipfs/go-cid"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Config says on which host a DHT stands and what part it takes. The zero value of each field but Host is usable.
type Config struct {
	// Host carries the DHT. It stays the caller's: Close does not close it. Required. Build it without libp2p's
	// black-hole detectors: after 100 failed dials they refuse nearly all UDP, and with it entry points that come up.
	Host host.Host
	// Bootstrap lists the entry points as known now; it is called for each round, from several goroutines, and must
	// not block. Entries for the host itself are skipped. Nil or empty: the node waits to be found.
	Bootstrap func() []peer.AddrInfo
	// Server makes the node hold records and answer queries. Set it where others can dial the host: ModeAuto would
	// wait for a public reachability that never comes on a LAN or on loopback. Unset: ask only.
	Server bool
	// Public keeps to addresses of the public internet, and to at most 3 table entries (2 a bucket) for each IP
	// network. On a LAN or on loopback that would leave a table of 3.
	Public bool
	// Amino joins the public IPFS DHT (/ipfs/kad/1.0.0) instead of cell's own (/cell/kad/1.0.0). It implies Public.
	// Its servers keep records for 48 hours whatever we ask, so the dead stay listed that long.
	Amino bool
	// Lean is for many nodes in one process: buckets of 8, no refresh beyond one look-up of the own id. Ignored with
	// Amino, which prescribes 20.
	Lean bool
	// Log takes what the DHT does; nil is silent.
	Log *slog.Logger

	bucket int // tests: bucket size, 0 by profile
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Bootstrap == nil {
		c.Bootstrap = func() []peer.AddrInfo { return nil }
	}
	if c.Amino {
		c.Public, c.Lean, c.bucket = true, false, bucketSize
		c.Bootstrap = withAmino(c.Bootstrap)
	}
	if c.bucket == 0 {
		c.bucket = bucketSize
		if c.Lean {
			c.bucket = leanBucketSize
		}
	}
	return c
}

func (c Config) validate() error {
	if c.Host == nil {
		return errors.New("dht: Config.Host is nil")
	}
	return nil
}

// DHT is a running node of the rendezvous. It is safe for concurrent use.
type DHT struct {
	cfg     Config
	host    host.Host
	kad     *kad.IpfsDHT
	rpc     *messenger
	log     *slog.Logger
	table   *table
	size    estimator
	addrs   signal        // fires when the host's addresses change
	back    signal        // fires when a peer is connected after a time in which none was
	asked   chan struct{} // Revisit
	entered chan struct{} // closed when the first round of entry points, with a look-up of the own id, is through, or the table filled before

	life   context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // own goroutines, and calls under way
	once   sync.Once
	err    error // of the first Close

	mu         sync.Mutex
	closed     bool
	announcers map[cid.Cid]*Announcer
}

// New starts a node on c.Host and returns at once: the entry points are dialled in the background, for as long as the
// table is empty. ctx bounds the call alone.
func New(ctx context.Context, c Config) (*DHT, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	node, err := kad.New(c.Host, options(c)...)
	if err != nil {
		return nil, fmt.Errorf("dht: %w", err)
	}
	d, err := start(c, node)
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return d, nil
}

func start(c Config, node *kad.IpfsDHT) (*DHT, error) {
	rpc, err := newMessenger(node, protocolOf(c))
	if err != nil {
		return nil, err
	}
	sub, err := subscribe(c.Host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &DHT{
		cfg: c, host: c.Host, kad: node, rpc: rpc, log: c.Log, life: ctx, cancel: cancel,
		table:      newTable(node.RoutingTable().Size),
		entered:    make(chan struct{}),
		asked:      make(chan struct{}, 1),
		announcers: make(map[cid.Cid]*Announcer),
	}
	d.wg.Go(func() { d.follow(ctx, sub) })
	d.wg.Go(func() { d.table.run(ctx) })
	d.wg.Go(func() { d.join(ctx) })
	if c.Server && !c.Lean && !c.Amino {
		d.wg.Go(func() { d.keepTable(ctx) })
	}
	return d, nil
}

// Size returns the number of peers in the routing table.
func (d *DHT) Size() int { return d.kad.RoutingTable().Size() }

// Peers returns the number of peers in the routing table, and a channel that is closed when that changes.
func (d *DHT) Peers() (n int, changed <-chan struct{}) { return d.table.state() }

// NetworkSize returns the estimated number of servers in the DHT; 0 before the first announcement or search.
func (d *DHT) NetworkSize() int { return int(d.size.estimate()) }

// Refresh looks up the own id, so that the neighbours in the key space are known, and returns when that is done or ctx
// ends. It happens by itself after joining and while the table is small, and shows how large the network is.
func (d *DHT) Refresh(ctx context.Context) {
	own := string(d.host.ID())
	if peers, err := d.lookup(ctx, own); err == nil {
		d.size.add(density(own, peers, d.connected, d.cfg.bucket))
	}
}

// lookup returns the closest peers to target (a preimage, not a position) that answered within lookupTimeout. A
// timeout still yields the closest known by then; the error is that of an empty table or of ctx.
func (d *DHT) lookup(ctx context.Context, target string) ([]peer.ID, error) {
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	peers, err := d.kad.GetClosestPeers(limited, target)
	if len(peers) > 0 {
		return peers, nil
	}
	return nil, err
}

// begin opens a call: the context that it returns ends with Close, too, and Close waits for end.
func (d *DHT) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	d.wg.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	detach := context.AfterFunc(d.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		detach()
		cancel(nil)
		d.wg.Done()
	}, nil
}

// Close ends the calls under way with ErrClosed, stops every Announcer and the node, and returns when all goroutines have
// ended. It withdraws nothing: kad-dht has no message for that, and records end by their age.
func (d *DHT) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		d.closed = true
		running := make([]*Announcer, 0, len(d.announcers))
		for _, a := range d.announcers {
			running = append(running, a)
		}
		d.mu.Unlock()
		d.cancel()
		for _, a := range running {
			a.Stop()
		}
		d.wg.Wait()
		d.err = d.kad.Close()
	})
	return d.err
}
