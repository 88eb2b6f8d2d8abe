package main

import (
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// unreachable holds the addresses whose machine has no power: a connection to them is neither made nor refused.
var unreachable sync.Map

// transport is memberlist's own on a wire that counts and loses.
type transport struct {
	*memberlist.NetTransport
	wire    *wire
	dark    atomic.Bool
	packets chan *memberlist.Packet
	streams chan net.Conn
	closing chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func newTransport(w *wire) (*transport, error) {
	inner, err := newSockets()
	if err != nil {
		return nil, err
	}
	t := &transport{
		NetTransport: inner, wire: w, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), closing: make(chan struct{}),
	}
	t.wg.Go(t.forwardPackets)
	t.wg.Go(t.forwardStreams)
	return t, nil
}

// newSockets binds a port that no member without power had before.
func newSockets() (*memberlist.NetTransport, error) {
	conf := &memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	for {
		t, err := memberlist.NewNetTransport(conf)
		if err != nil {
			return nil, err
		}
		if _, off := unreachable.Load(loopback(t.GetAutoBindPort())); !off {
			return t, nil
		}
		if err := t.Shutdown(); err != nil {
			return nil, err
		}
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (t *transport) port() int { return t.GetAutoBindPort() }

func (t *transport) addr() string { return loopback(t.port()) }

// forwardPackets hands on what arrives while there is power.
func (t *transport) forwardPackets() {
	for {
		select {
		case <-t.closing:
			return
		case p := <-t.NetTransport.PacketCh():
			if t.dark.Load() {
				continue
			}
			select {
			case t.packets <- p:
			case <-t.closing:
				return
			}
		}
	}
}

func (t *transport) forwardStreams() {
	for {
		select {
		case <-t.closing:
			return
		case c := <-t.NetTransport.StreamCh():
			select {
			case t.streams <- t.wire.counted(c):
			case <-t.closing:
				c.Close()
				return
			}
		}
	}
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	if t.dark.Load() || !t.wire.datagram(len(b)) {
		return time.Now(), nil
	}
	return t.NetTransport.WriteToAddress(b, addr)
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. A machine without power does not refuse a connection, as
// its port would here: a dial to it, or by it, hangs until its time is over.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if _, off := unreachable.Load(addr.Addr); off || t.dark.Load() {
		t.wire.segments(0) // its SYN; that Linux repeats it after a second and later is left out
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.closing:
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	c, err := t.NetTransport.DialAddressTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	return t.wire.counted(c), nil
}

// Shutdown implements memberlist.Transport. What the sockets still hold is read off first, since they close only when
// their readers have handed it on.
func (t *transport) Shutdown() error {
	done := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-t.NetTransport.PacketCh():
			case c := <-t.NetTransport.StreamCh():
				c.Close()
			case <-done:
				return
			}
		}
	}()
	t.once.Do(func() { close(t.closing) })
	err := t.NetTransport.Shutdown()
	close(done)
	<-drained
	t.wg.Wait()
	return err
}
