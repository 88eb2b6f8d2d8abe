package link

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

const simLatency = 50 * time.Millisecond // one way

// sim is a network in virtual time with one instance and one Dialer, 100 ms apart. QUIC only: sockets of the kernel
// do not know virtual time.
type sim struct {
	*Dialer
	handler *handler
	server  *Server
	target  Target
	cut     *cutConn // the instance's end of the network
}

// cutConn is a socket whose host can vanish.
type cutConn struct {
	net.PacketConn
	dead atomic.Bool
}

func (c *cutConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.dead.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

func (c *cutConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.dead.Load() {
			return n, from, err
		}
	}
}

func inSim(t *testing.T, h *handler, f func(t *testing.T, s *sim)) {
	synctest.Test(t, func(t *testing.T) {
		nw := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(simLatency), Logger: slog.New(slog.DiscardHandler)}
		links := simnet.LinkSettings{BitsPerSecond: 100_000_000, MTU: 1500}
		both := simnet.NodeBiDiLinkSettings{Downlink: links, Uplink: links}
		endpoint := func(ip string, port int) net.PacketConn {
			return nw.NewEndpoint(&net.UDPAddr{IP: net.ParseIP(ip), Port: port}, both)
		}
		s := &sim{handler: h, cut: &cutConn{PacketConn: endpoint("1.0.0.1", 40000)}}
		client := endpoint("1.0.0.2", 40000)
		nw.Start()

		id := newIdentity(t)
		var err error
		if s.server, err = NewServer(ServerConfig{Identity: id, Handler: h}); err != nil {
			t.Fatal(err)
		}
		tr := &quic.Transport{Conn: s.cut}
		ln, err := tr.Listen(id.ServerTLS(), &quic.Config{MaxIncomingStreams: 256, KeepAlivePeriod: 15 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s.server.ServeQUIC(ln)
		if s.Dialer, err = NewDialer(DialerConfig{
			Budget:       NewBudget(),
			ListenPacket: func(string) (net.PacketConn, error) { return client, nil },
		}); err != nil {
			t.Fatal(err)
		}
		s.target = Target{Peer: id.Peer(), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/1.0.0.1/udp/40000/quic-v1")}}
		f(t, s)
		s.Dialer.Close()
		s.server.Close()
		tr.Close()
		s.cut.Close()
		nw.Close()
	})
}

// took checks how much virtual time something took; the links add a little.
func took(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s took %s, want %s to %s", what, got, least, most)
	}
}

func TestColdOpenTakesTwoRoundTripsAndWarmOne(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		start := time.Now()
		c, err := s.Open(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		took(t, "cold open", time.Since(start), 4*simLatency, 4*simLatency+20*time.Millisecond)
		start = time.Now()
		p, err := s.Probe(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		took(t, "probe", time.Since(start), 2*simLatency, 2*simLatency+10*time.Millisecond)
		took(t, "measured RTT", p.RTT, 2*simLatency, 2*simLatency+5*time.Millisecond)
		start = time.Now()
		warm, err := s.Open(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		took(t, "warm open", time.Since(start), 2*simLatency, 2*simLatency+5*time.Millisecond)
		c.Close()
		warm.Close()
	})
}

func TestDeadAddressCostsItsHeadStart(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		s.target.Addrs = append([]ma.Multiaddr{ma.StringCast("/ip4/1.0.0.9/udp/40000/quic-v1")}, s.target.Addrs...)
		start := time.Now()
		c, err := s.Open(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		took(t, "open", time.Since(start), hostDelay+4*simLatency, hostDelay+4*simLatency+20*time.Millisecond)
		c.Close()
		time.Sleep(time.Minute) // the connection is closed meanwhile, the path is remembered
		if n := s.server.Stats().Conns; n != 0 {
			t.Errorf("%d connections are left", n)
		}
		start = time.Now()
		if c, err = s.Open(t.Context(), s.target, hello); err != nil {
			t.Fatal(err)
		}
		took(t, "second open", time.Since(start), 4*simLatency, 4*simLatency+20*time.Millisecond)
		c.Close()
	})
}

// A firewall that swallows TCP must not hold up QUIC at the same port.
func TestSwallowedTCPCostsItsHeadStart(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		s.cfg.DialTCP = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s.target.Addrs = append(s.target.Addrs, ma.StringCast("/ip4/1.0.0.1/tcp/40000/tls"))
		start := time.Now()
		c, err := s.Open(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		took(t, "open", time.Since(start), pairDelay+4*simLatency, pairDelay+4*simLatency+20*time.Millisecond)
		c.Close()
	})
}

func TestHeartbeatsKeepAWatchAliveAndSilenceEndsIt(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		lists := 0
		done := make(chan error, 1)
		go func() {
			done <- s.Watch(t.Context(), s.target, hello, func(List) { lists++ })
		}()
		time.Sleep(10 * time.Minute)
		select {
		case err := <-done:
			t.Fatalf("a quiet watch ended with %v", err)
		default:
		}
		s.cut.dead.Store(true)
		start := time.Now()
		err := <-done
		took(t, "noticing the silence", time.Since(start), silence-heartbeat-2*simLatency, silence)
		if !errors.Is(err, ErrSilent) || lists != 1 {
			t.Errorf("got %v after %d lists", err, lists)
		}
	})
}

func TestVanishedWatcherIsLetGo(t *testing.T) {
	var ended chan time.Time // made within the bubble
	h := &handler{watch: func(ctx context.Context, send func(List) error) error {
		send(List{Full: true})
		<-ctx.Done()
		ended <- time.Now()
		return ctx.Err()
	}}
	inSim(t, h, func(t *testing.T, s *sim) {
		ended = make(chan time.Time, 1)
		got := make(chan List, 1)
		done := make(chan error, 1)
		go func() { done <- s.Watch(t.Context(), s.target, hello, func(l List) { got <- l }) }()
		<-got
		s.cut.dead.Store(true)
		start := time.Now()
		took(t, "letting go", (<-ended).Sub(start), 0, 31*time.Second)
		<-done
	})
}

func TestQuietStreamLivesAndADeadOneIsNoticed(t *testing.T) {
	inSim(t, &handler{}, func(t *testing.T, s *sim) {
		c, err := s.Open(t.Context(), s.target, hello)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		echo(t, c, "after an hour")
		s.cut.dead.Store(true)
		start := time.Now()
		_, err = c.Read(make([]byte, 1))
		took(t, "noticing", time.Since(start), 15*time.Second, 23*time.Second)
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		c.Close()
	})
}

func TestProbeOfAFarInstanceSpendsOneSample(t *testing.T) {
	h := &handler{}
	inSim(t, h, func(t *testing.T, s *sim) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*simLatency+30*time.Millisecond)
		defer cancel()
		if _, err := s.Probe(ctx, s.target, hello); err != nil {
			t.Fatal(err)
		}
		if n := h.hellos.Load(); n != 1 {
			t.Errorf("%d Hellos", n)
		}
	})
}
