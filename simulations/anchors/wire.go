package main

import (
	"math/rand/v2"
	"net"
	"sync/atomic"
)

// What a packet costs on the wire beside its payload. TCP's segments cannot be seen from a program; what a
// connection of its kind usually takes is counted instead: a segment for each 1,448 bytes written, an
// acknowledgement for each read, and three packets of each side for opening and closing.
const (
	udpHeader  = 20 + 8
	tcpHeader  = 20 + 20 + 12 // with timestamps, as Linux sends them
	tcpSegment = 1448
	tcpSetup   = 3
)

// wire is the network as all members of a process share it.
type wire struct {
	loss    atomic.Uint64 // of 1,000,000 packets, how many are lost
	bytes   atomic.Uint64 // sent, headers included, lost ones too
	packets atomic.Uint64
}

// setLoss has a part of all datagrams be lost from now on, 0 to 1.
func (w *wire) setLoss(part float64) { w.loss.Store(uint64(part * 1e6)) }

// datagram counts one that is sent, and reports whether it arrives.
func (w *wire) datagram(payload int) bool {
	w.bytes.Add(uint64(payload) + udpHeader)
	w.packets.Add(1)
	return rand.Uint64N(1e6) >= w.loss.Load()
}

// segments counts what one write to, or one acknowledgement on, a TCP connection takes.
func (w *wire) segments(payload int) {
	n := uint64(max(1, (payload+tcpSegment-1)/tcpSegment))
	w.bytes.Add(uint64(payload) + n*tcpHeader)
	w.packets.Add(n)
}

// opened counts one side's packets for the opening and closing of a TCP connection.
func (w *wire) opened() {
	w.bytes.Add(tcpSetup * tcpHeader)
	w.packets.Add(tcpSetup)
}

// socket is one member's UDP socket on the wire. It hides what a *net.UDPConn can do beyond a net.PacketConn, so
// that QUIC sends one packet a call and each can be counted.
type socket struct {
	net.PacketConn
	udp  *net.UDPConn // the same one
	wire *wire
	dark *atomic.Bool // its machine has no power: packets are lost both ways
}

// SetReadBuffer lets QUIC have as much room for what arrives as memberlist takes for itself.
func (s *socket) SetReadBuffer(bytes int) error { return s.udp.SetReadBuffer(bytes) }

// SetWriteBuffer goes with SetReadBuffer.
func (s *socket) SetWriteBuffer(bytes int) error { return s.udp.SetWriteBuffer(bytes) }

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(p []byte, to net.Addr) (int, error) {
	if s.dark.Load() || !s.wire.datagram(len(p)) {
		return len(p), nil
	}
	return s.PacketConn.WriteTo(p, to)
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err != nil || !s.dark.Load() {
			return n, from, err
		}
	}
}

// conn is a TCP connection that is counted.
type conn struct {
	net.Conn
	wire *wire
}

// counted counts the opening of a TCP connection and what will be written to it.
func (w *wire) counted(c net.Conn) net.Conn {
	w.opened()
	return &conn{c, w}
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wire.segments(n)
	return n, err
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.wire.segments(0)
	}
	return n, err
}
