package link

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// BenchmarkOpenEcho opens a stream, echoes 100 bytes and closes it: cold with a handshake each, warm on a QUIC
// connection that stands, or on a TCP connection that was probed just before. BenchmarkPlainTLS is the anchor.
func BenchmarkOpenEcho(b *testing.B) {
	for _, path := range []string{TCP, QUIC} {
		b.Run("cold/"+path, func(b *testing.B) {
			i := serve(b, &handler{})
			id := newIdentity(b)
			for b.Loop() {
				d := newDialer(b, func(c *DialerConfig) { c.Identity = id })
				openEcho(b, d, i, path)
				d.Close()
			}
		})
		b.Run("warm/"+path, func(b *testing.B) {
			i := serve(b, &handler{})
			d := newDialer(b)
			for b.Loop() {
				if path == TCP {
					b.StopTimer()
					if _, err := d.Probe(b.Context(), i.target(i.tcp), hello); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				openEcho(b, d, i, path)
			}
		})
	}
}

func openEcho(b *testing.B, d *Dialer, i *instance, path string) {
	c, err := d.Open(b.Context(), i.target(i.addr(path)), hello)
	if err != nil {
		b.Fatal(err)
	}
	exchange(b, c)
	c.Close()
}

func exchange(b *testing.B, c net.Conn) {
	var buf [100]byte
	if _, err := c.Write(buf[:]); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(c, buf[:]); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkEcho is one exchange of 100 bytes on an open stream.
func BenchmarkEcho(b *testing.B) {
	for _, path := range []string{TCP, QUIC} {
		b.Run(path, func(b *testing.B) {
			i := serve(b, &handler{})
			c := open(b, newDialer(b), i.target(i.addr(path)))
			for b.Loop() {
				exchange(b, c)
			}
		})
	}
}

func drain(_ context.Context, _ Hello, c *Conn) { io.Copy(io.Discard, c) }

// BenchmarkStream sends 64 KiB writes one way.
func BenchmarkStream(b *testing.B) {
	for _, path := range []string{TCP, QUIC} {
		b.Run(path, func(b *testing.B) {
			i := serve(b, &handler{open: drain})
			c := open(b, newDialer(b), i.target(i.addr(path)))
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPlainTLS is what BenchmarkOpenEcho cold/tcp is measured against: crypto/tls 1.3 with certificates on both
// ends, the same keys, and nothing of this package's.
func BenchmarkPlainTLS(b *testing.B) {
	server, client := newIdentity(b), newIdentity(b)
	plain := func(i *Identity) *tls.Config {
		cfg, _ := i.tls.ConfigForPeer("")
		cfg.VerifyPeerCertificate = nil
		return cfg
	}
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", plain(server))
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	cfg := plain(client)
	for b.Loop() {
		c, err := tls.Dial("tcp", ln.Addr().String(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		exchange(b, c)
		c.Close()
	}
}
