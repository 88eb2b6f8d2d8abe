package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// DialerConfig configures a Dialer. The zero value is good for a client.
type DialerConfig struct {
	// Identity is who we are to the instances; nil means an ephemeral one.
	Identity *Identity
	// ListenPacket opens the UDP socket of one IP version, network being udp4 or udp6, at the first dial that needs
	// it; the Dialer closes it. Nil means any free port.
	ListenPacket func(network string) (net.PacketConn, error)
	// DialTCP dials tcp4 or tcp6; nil means net.Dialer.
	DialTCP func(ctx context.Context, network, addr string) (net.Conn, error)
	// DialNode has a libp2p node open a stream of Protocol to a peer, on a direct connection that it asks for at a relay
	// if there is none yet; it returns ErrNoNode where none runs. Nil means that none does.
	DialNode func(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error)
	// Resolve looks a DNS name up, network being ip, ip4 or ip6; nil means net.DefaultResolver.
	Resolve func(ctx context.Context, network, name string) ([]netip.Addr, error)
	// Local returns the prefixes of our own interfaces, for Dialable; nil means LocalPrefixes, asked every 5 s.
	Local         func() []netip.Prefix
	NoTCP, NoQUIC bool
	// Warm is how long an unused connection is kept after a Probe or List; zero means 5 s, at most 25 s (an
	// instance closes it after 30).
	Warm time.Duration
	// WelcomeTimeout is the time for a Welcome once a connection stands; zero means 2 s.
	WelcomeTimeout time.Duration
	// Budget of dials to unproved addresses; nil means the process's shared one.
	Budget *Budget
	// Log may be nil.
	Log *slog.Logger
}

func (c DialerConfig) withDefaults() DialerConfig {
	if c.ListenPacket == nil {
		c.ListenPacket = func(network string) (net.PacketConn, error) { return net.ListenUDP(network, nil) }
	}
	if c.DialTCP == nil {
		c.DialTCP = new(net.Dialer).DialContext
	}
	if c.DialNode == nil {
		c.DialNode = func(context.Context, peer.ID, ma.Multiaddr) (net.Conn, error) { return nil, ErrNoNode }
	}
	if c.Resolve == nil {
		c.Resolve = net.DefaultResolver.LookupNetIP
	}
	if c.Local == nil {
		c.Local = cached(5*time.Second, LocalPrefixes)
	}
	if c.Warm == 0 {
		c.Warm = 5 * time.Second
	}
	if c.WelcomeTimeout == 0 {
		c.WelcomeTimeout = 2 * time.Second
	}
	if c.Budget == nil {
		c.Budget = sharedBudget
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c DialerConfig) validate() error {
	switch {
	case c.NoTCP && c.NoQUIC:
		return errors.New("link: DialerConfig forbids both TCP and QUIC")
	case c.Warm < 0 || c.Warm > 25*time.Second:
		return errors.New("link: DialerConfig.Warm is not within 0 and 25 s")
	}
	return nil
}

func cached[T any](ttl time.Duration, f func() T) func() T {
	var mu sync.Mutex
	var value T
	var at time.Time
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) > ttl {
			value, at = f(), time.Now()
		}
		return value
	}
}

// A Dialer reaches instances. It keeps what it learns of their paths, and warm connections for a short while. Its
// methods may be called by any number of goroutines.
type Dialer struct {
	cfg    DialerConfig
	ctx    context.Context // ends with Close, and then its cause is ErrClosed
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	memory memory
	tls    warmTLS
	quic   quicPool
	gates  gates

	mu     sync.Mutex
	closed bool
}

// NewDialer returns a Dialer. It opens no socket yet.
func NewDialer(cfg DialerConfig) (*Dialer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Identity == nil {
		var err error
		if cfg.Identity, err = Ephemeral(); err != nil {
			return nil, err
		}
	}
	d := &Dialer{cfg: cfg}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	d.quic.listen = cfg.ListenPacket
	return d, nil
}

// Peer returns the ID under which the instances see this Dialer.
func (d *Dialer) Peer() peer.ID { return d.cfg.Identity.Peer() }

// Close ends the calls in hand and closes the warm connections and the UDP sockets, and with them every Conn over
// QUIC. A Conn over TCP belongs to whoever opened it and lives on, and one over a node's stream while the node does. Close may be called more than once.
func (d *Dialer) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel(ErrClosed)
	d.tls.close()
	d.wg.Wait()
	d.tls.close()
	d.quic.close()
	return nil
}

// enter counts a call or goroutine of the Dialer, unless it is closed.
func (d *Dialer) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.wg.Add(1)
	return true
}

// call joins a caller's context with the Dialer's own life.
func (d *Dialer) call(ctx context.Context) (context.Context, func(), error) {
	if !d.enter() {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		d.wg.Done()
	}, nil
}
